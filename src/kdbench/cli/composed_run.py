"""A run as Hydra composed it: its settings as typed, and what they come to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kdbench.cli.planned_run import PlannedRun
from kdbench.errors import BadSetting, nearest
from kdbench.results.row import NUMBERS, Row
from kdbench.settings import own_folder
from kdbench.settings.choices import config_dir
from kdbench.settings.compose import resolve


def planned(composed: DictConfig, own: Any) -> PlannedRun:
    """Return the run that Hydra composed; `own` are its own settings. Raises `BadSetting` if it is not possible."""
    typed = as_typed(own)
    config = resolve(composed, dict(own.runtime.choices), typed, config_folders(own))
    require_column(composed.objective)
    return PlannedRun(typed, config)


def require_column(objective: str | None) -> None:
    """Raise `BadSetting` for an objective that is no column of numbers."""
    if objective is not None and objective not in NUMBERS:
        raise BadSetting(f"objective={objective} is no column of numbers: {nearest(objective, NUMBERS)}")


def objective_of(row: Row, column: str) -> float:
    """Return the value of a column. Raises `BadSetting` if the row has none."""
    value = getattr(row, column)
    if value is None:
        raise BadSetting(f"objective={column} is empty in this row: choose another column")
    return float(value)


def as_typed(own: Any) -> list[str]:
    """Return the settings of a run to the letter: `${...}` in them is for the run's configuration to resolve."""
    return plainly(OmegaConf.to_container(own.overrides.task, resolve=False))


def plainly(settings: Iterable[Any]) -> list[str]:
    """Return settings without Hydra's own, and without the sign that `overrides` put before them."""
    return [str(setting).removeprefix("++") for setting in settings if not str(setting).startswith("hydra")]


def config_folders(own: Any) -> list[Path]:
    """Return the folders in which choices are looked for; one given by --config-dir also holds Python files."""
    given = [
        Path(source.path)
        for source in own.runtime.config_sources
        if source.schema == "file" and source.provider == "command-line"
    ]
    for folder in given:
        own_folder.serve(folder)  # in a process of another launcher, nobody has
    return [*given, config_dir()]
