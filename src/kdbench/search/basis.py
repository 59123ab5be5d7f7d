"""What trials rest on beside what was typed: data, choices and code. Those that were made of others do not count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kdbench.settings import choices
from kdbench.settings.code import code_of
from kdbench.settings.config import digest
from kdbench.settings.identity import targets_of
from kdbench.settings.network import NetworkSpec

GROUPS = (*choices.GROUPS, "transfer")


def basis(folders: Sequence[Path], network: NetworkSpec, fingerprint: str) -> str:
    """Return a hash of every choice in `folders`, of the code that these and `network` name, and of the data's."""
    known = {group: choices.options(group, folders) for group in GROUPS}
    nodes = {f"{group}/{name}": choices.read(path) for group, own in known.items() for name, path in own.items()}
    modules = sorted({target.rpartition(".")[0] for target in (*targets(nodes), *targets_of(network))})
    return digest([nodes, code_of(filter(None, modules)), fingerprint])


def targets(node: Any) -> Iterator[str]:
    """Yield every `_target_` in a YAML, but for those that are to be typed."""
    if isinstance(node, dict):
        named = node.get("_target_")
        if isinstance(named, str) and named != "???":
            yield named
        for value in node.values():
            yield from targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from targets(value)
