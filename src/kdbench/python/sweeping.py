"""A run for each combination of settings. A run that fails does not stop the others."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from kdbench.errors import BadSetting, CannotWrite, KdbenchError
from kdbench.python import running
from kdbench.python.frames import frame
from kdbench.results.row import Row
from kdbench.settings.combinations import combinations
from kdbench.settings.config import Config
from kdbench.settings.typed import Flat, config_of

SHOWN = 3  # failures that are named in full

Failure = tuple[str, Exception]
"""The settings in which a run differs from the others, and why it failed."""


def sweep(settings: Mapping[str, Any], own: Path | str | None, progress: bool, errors: str) -> pd.DataFrame:
    """Do the runs that `settings` ask for and return their rows; see `kdbench.sweep`."""
    if errors not in ("raise", "skip"):
        raise BadSetting(f"errors={errors!r} is neither 'raise' nor 'skip'")
    wanted = combinations(settings, own)
    planned, failures = plan(wanted, own)
    running.forget()
    seeds: dict[str, list[int]] = defaultdict(list)
    for flat, config in planned:
        seeds[but_seed(flat)] += [config.network.seed] if "seed" in flat else []
    rows: dict[Path, Row] = {}
    disturbed: list[tuple[Flat, Config]] = []  # while they were timed

    def perform(flat: Flat, config: Config) -> None:
        try:
            result = running.run(config, seeds[but_seed(flat)], progress)
        except CannotWrite:
            raise  # nothing further can be kept
        except Exception as error:
            failures.append((in_words(flat, wanted), error))
            if progress:
                running.report(f"error in {failures[-1][0]}: {reason(error)}")
        else:
            rows[result.folder] = result.row
            if not result.row.timed:
                disturbed.append((flat, config))

    for one in planned:
        perform(*one)
    for one in list(disturbed):  # others may have gone by now
        perform(*one)
    if failures and errors == "raise":
        raise KdbenchError(summary(failures, len(wanted))) from failures[0][1]
    return frame(rows)


def plan(wanted: Sequence[Flat], own: Path | str | None) -> tuple[list[tuple[Flat, Config]], list[Failure]]:
    """Return the runs whose settings are possible, and the others with the reason; raise that, if all are others."""
    planned, failures = [], []
    for flat in wanted:
        try:
            planned.append((flat, config_of(flat, own)))
        except KdbenchError as error:
            failures.append((in_words(flat, wanted), error))
    if not planned:
        raise failures[0][1]
    return planned, failures


def but_seed(flat: Flat) -> str:
    """Return what the runs of one variant under several seeds have in common."""
    return json.dumps({name: value for name, value in flat.items() if name != "seed"}, sort_keys=True)


def in_words(flat: Flat, wanted: Sequence[Flat]) -> str:
    """Return the settings in which a run differs from others of its sweep."""
    return " ".join(f"{name}={value}" for name, value in flat.items() if any(one[name] != value for one in wanted))


def reason(error: Exception) -> str:
    """Return one line for an error; what is no user's mistake is named by its type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, KdbenchError) else f"{type(error).__name__}: {text}"


def summary(failures: Sequence[Failure], runs: int) -> str:
    """Return one line that names what failed."""
    named = "; ".join(": ".join(filter(None, (words, reason(error)))) for words, error in failures[:SHOWN])
    more = f"; and {len(failures) - SHOWN} more" if len(failures) > SHOWN else ""
    kept = " (the rows of the others are kept: errors='skip' returns them)" if len(failures) < runs else ""
    return f"{len(failures)} of {runs} runs failed: {named}{more}{kept}"
