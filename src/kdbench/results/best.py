"""Which variant is best under limits, by its accuracy on validation: the test set has no say. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kdbench.results.summary import VARIANT

VALIDATION = "file_val_accuracy"
LATENCY = "latency_ms"
ROUNDING = 1e-9  # relative; a mean of numbers that all stand at the limit may lie so far beyond it
FEWEST_ERRORS = 1e-4  # the fraction to which errors are compared where none are allowed


@dataclass(frozen=True)
class Limit:
    """What a column may be at most, or, of `VALIDATION`, at least; `typed` such as `--max-bytes 20kB`."""

    typed: str
    column: str
    bound: float

    def excess(self, values: pd.Series) -> pd.Series:
        """Return by which part of the limit each value is beyond it; 0 for those that keep to it, infinite for NaN.

        Of an accuracy by which part of the errors that are allowed: it is near 1 itself, whatever the network.
        """
        if self.column == VALIDATION:
            beyond = (self.bound - values) / max(1 - self.bound, FEWEST_ERRORS)
        else:
            beyond = values / self.bound - 1
        return beyond.where(beyond > ROUNDING, 0.0).mask(values.isna(), np.inf)


def excess(figures: pd.DataFrame, limits: Sequence[Limit]) -> pd.Series:
    """Return what `Limit.excess` is for each line of `figures`, summed over `limits`."""
    total = pd.Series(0.0, index=figures.index)
    for limit in limits:
        total += limit.excess(figures[limit.column])
    return total


def ranked(means: pd.DataFrame, size: str, limits: Sequence[Limit]) -> pd.DataFrame:
    """Return the lines of `summarise` that keep to all `limits`, the best first, each with its `excess`, 0.

    If accuracy is a limit, the smallest by the column `size` is best, else the most accurate on validation; of equal
    ones the other of both decides, then the time for one image. So none that is left out is better in one of the
    three and as good in the others. Where none keeps to the limits, all are returned, the nearest first.
    """
    by = {VALIDATION: False, size: True, LATENCY: True}
    if any(limit.column == VALIDATION for limit in limits):
        by = {size: True, VALIDATION: False, LATENCY: True}
    lines = means.assign(excess=excess(means, limits))
    keeping = lines[lines["excess"] == 0]
    if keeping.empty:
        keeping, by = lines, {"excess": True, **by}
    return keeping.sort_values([*by], ascending=[*by.values()])


def typical(seeds: pd.DataFrame, variant: pd.Series, limits: Sequence[Limit]) -> tuple[pd.Series, bool]:
    """Return the line of `pool` that stands for a variant: of its seeds the median on validation (of two the lower).

    Of those seeds whose own file keeps to the `limits`, as the mean over all may without each of them doing so; of
    all if none does. And whether it does.
    """
    own = seeds[(seeds[VARIANT] == variant[VARIANT]).all(axis=1)]
    keeping = own[excess(own, limits) == 0]
    among = (own if keeping.empty else keeping).sort_values([VALIDATION, "seed"])
    return among.iloc[(len(among) - 1) // 2], not keeping.empty
