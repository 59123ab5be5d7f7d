"""A paper's experiment, as its YAML describes it. Imports no torch."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from kdbench.cli.overrides import name_of
from kdbench.errors import BadSetting, nearest

if TYPE_CHECKING:
    from kdbench.results.claims import Claim

KEYS = ("source", "takes", "data", "settings", "seeds", "quick", "quick_where", "where", "runs", "claims", "charts")


@dataclass(frozen=True)
class Reproduction:
    """A paper's experiment: `runs` are settings of `kdbench run` by name, on which the `claims` are judged.

    `where` are texts that stand as $NAME in the runs; $data is the data set of the runs, as a transfer set. `takes`
    is how long it takes, in words, with the machine. `settings` go before those of each run; `quick` after them, and
    `quick_where` with these, if it is only to be seen how it goes. `charts` are those of `kdbench plot` that show a
    claim which is a curve.
    """

    name: str
    about: str
    source: str
    takes: str
    data: str  # that the claims are about
    settings: list[str]
    seeds: int
    quick: list[str]
    where: dict[str, str]
    quick_where: dict[str, str]
    runs: dict[str, list[str]]
    claims: list[Claim]
    charts: list[str]

    @property
    def names(self) -> set[str]:
        """The settings by name that are the experiment's own."""
        return {name_of(setting) for typed in (self.settings, *self.runs.values()) for setting in typed}


def read(name: str, path: Path) -> Reproduction:
    """Return what a YAML file describes. Raises `BadSetting` if it is no reproduction."""
    from kdbench.results.claims import claim_of
    from kdbench.settings import choices

    node = choices.read(path)
    for key in node:
        if key not in KEYS:
            raise BadSetting(f"{path}: {key} is not known: {nearest(key, KEYS)}")
    try:
        where, quick_where = (texts(node.get(key)) for key in ("where", "quick_where"))
        runs = {run: shlex.split(typed) for run, typed in texts(node["runs"]).items()}
        for typed in runs.values():
            written(typed, where | {"data": ""})
        claims = [claim_of(claim, list(runs)) for claim in node["claims"]]
        return Reproduction(
            name,
            choices.about(path),
            str(node["source"]),
            str(node["takes"]),
            str(node.get("data", "mnist")),
            words(node.get("settings")),
            int(node.get("seeds", 3)),
            words(node.get("quick")),
            where,
            quick_where,
            runs,
            claims,
            [str(chart) for chart in node.get("charts") or ()],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadSetting(f"{path} is no reproduction ({error})") from error


def texts(node: Any) -> dict[str, str]:
    """Return a mapping of texts."""
    return {str(key): str(value) for key, value in (node or {}).items()}


def written(typed: Sequence[str], where: Mapping[str, str]) -> list[str]:
    """Return settings with texts in the place of their names. Raises `KeyError` for a name that stands for none."""
    return [Template(word).substitute(where) for word in typed]


def own_data(settings: Sequence[str]) -> str:
    """Return the data set of runs under `settings` as one writes it inside a transfer set."""
    chosen = dict(setting.partition("=")[::2] for setting in settings)
    root = f",root:{chosen['data.root']}" if "data.root" in chosen else ""
    return chosen.get("data", "mnist") + root


def words(typed: Any) -> list[str]:
    """Return settings as a list, from a line of them."""
    return shlex.split(str(typed)) if typed else []
