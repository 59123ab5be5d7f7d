"""A search as its YAML describes it. Imports neither torch nor Optuna."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdbench.errors import BadSetting, nearest
from kdbench.search.space import Space, space_of
from kdbench.settings import checks, choices

KEYS = ("settings", "space", "objectives", "sampler", "trials", "seeds", "limits", "retrain", "against")
COUNTS = {"trials": 30, "seeds": 5, "retrain": 1}  # at least 1 each, and what they are where nothing is said
SAMPLERS = ("tpe", "nsga2", "random")
DIRECTIONS = {"maximise": "maximize", "minimise": "minimize"}
MEASURED = (
    "val_accuracy",
    "parameters",
    "macs",
    "weight_bytes",
    "size_bytes",
    "size_gzip_bytes",
    "packed_bytes",
    "speedup",
)


class TooLarge(Exception):  # noqa: N818
    """What was drawn is beyond a limit of the plan."""


@dataclass(frozen=True)
class Plan:
    """What is searched, for what, and how long.

    `settings` go with every trial. `objectives` are columns and whether more or less of them is better; `limits` the
    most that a column may be. `trials` is the budget. The `retrain` best are trained anew under `seeds` fresh seeds,
    beside `against`, settings made by hand.
    """

    name: str
    about: str
    settings: Mapping[str, Any]
    space: Space
    objectives: Mapping[str, str]
    sampler: str
    trials: int
    seeds: int
    limits: Mapping[str, float]
    retrain: int
    against: Mapping[str, Any]

    @property
    def columns(self) -> Sequence[str]:
        """What is measured of a trial."""
        return tuple(dict.fromkeys([*self.objectives, *self.limits]))


def read(name: str, path: Path) -> Plan:
    """Return what a YAML file describes. Raises `BadSetting` if it is no search."""
    node = choices.read(path)
    for key in node:
        if key not in KEYS:
            raise BadSetting(f"{path}: {key} is not known: {nearest(key, KEYS)}")
    try:
        objectives = {str(column): str(how) for column, how in dict(node.get("objectives") or {}).items()}
        limits = {str(column): float(most) for column, most in dict(node.get("limits") or {}).items()}
    except (TypeError, ValueError) as error:
        raise BadSetting(f"{path}: objectives are such as val_accuracy: maximise, and limits are numbers") from error
    sampler = str(node.get("sampler", "tpe"))
    if "val_accuracy" not in objectives:
        raise BadSetting(f"{path}: objectives must have val_accuracy: maximise")
    for column in (*objectives, *limits):
        if column not in MEASURED:
            raise BadSetting(f"{path}: {column} is not measured of a trial: {nearest(column, MEASURED)}")
    for how in objectives.values():
        if how not in DIRECTIONS:
            raise BadSetting(f"{path}: an objective is to maximise or to minimise, not to {how}")
    if sampler not in SAMPLERS:
        raise BadSetting(f"{path}: sampler {sampler} is not known: {nearest(sampler, SAMPLERS)}")
    counts = [node.get(key, default) for key, default in COUNTS.items()]
    for key, count in zip(COUNTS, counts, strict=True):
        checks.whole(f"{path}: {key}", count, 1)
    trials, seeds, retrain = counts
    try:
        return Plan(
            name,
            choices.about(path),
            dict(node.get("settings") or {}),
            space_of(node.get("space")),
            objectives,
            sampler,
            trials,
            seeds,
            limits,
            retrain,
            dict(node.get("against") or {}),
        )
    except BadSetting as error:
        raise BadSetting(f"{path}: {error}") from error
    except (TypeError, ValueError) as error:
        raise BadSetting(f"{path} is no search ({error})") from error
