"""What trials rest on beside what was typed: data, choices and code. Those that were made of others do not count."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kdbench.settings import choices
from kdbench.settings.code import DECIDING, code_of
from kdbench.settings.config import digest
from kdbench.settings.identity import MAKER, MEASURING, targets_in, targets_of
from kdbench.settings.network import NetworkSpec

GROUPS = (*choices.GROUPS, "transfer")
TRIAL = "kdbench.search.trial"  # which makes a network and measures it
TO_BE_TYPED = "???"  # in the place of a class, in conf/model/python.yaml


def basis(folders: Sequence[Path], network: NetworkSpec, fingerprint: str) -> str:
    """Return a hash of every choice in `folders`, of the code that these and `network` name, and of the data's."""
    known = {group: choices.options(group, folders) for group in GROUPS}
    nodes = {f"{group}/{name}": choices.read(path) for group, own in known.items() for name, path in own.items()}
    named = {*targets_in(nodes), *targets_of(network)} - {TO_BE_TYPED}
    modules = sorted({target.rpartition(".")[0] for target in named})
    code = code_of([MAKER, TRIAL, *filter(None, modules)], (*DECIDING, *MEASURING, TRIAL))
    return digest([nodes, code, fingerprint])
