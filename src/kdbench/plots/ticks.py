"""Where ticks read best on a log axis, however narrow or wide it is: at least two of them, and not too many."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import numpy as np
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, Formatter, NullFormatter, NullLocator

# Of numbers that read well over a wide range.
DIGITS: tuple[tuple[float, ...], ...] = (
    *((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5), (1, 2, 3, 5, 7)),
    (1, 1.5, 2, 3, 4, 5, 7),
)
STEPS = (5, 2.5, 2, 1)  # between numbers that read well over a narrow range; and tenths of them, and so on


def best(sets: Iterable[np.ndarray], low: float, high: float, most: int) -> np.ndarray:
    """Return of the first set with the most ticks between `low` and `high` those, sorted.

    No two may be nearer than an axis with room for about `most` allows. All are places on the axis: logs, for one.
    """
    chosen = np.array([])
    for places in sets:
        found = np.sort(places[(low <= places) & (places <= high)])
        if len(found) > len(chosen) and (len(found) < 2 or np.diff(found).min() >= (high - low) / most):
            chosen = found
    return chosen


def round_numbers(low: float, high: float, most: int) -> np.ndarray:
    """Return the round numbers between two positive ones at which a log axis has its ticks."""
    return 10 ** best(_logs(int(np.floor(np.log10(low)))), np.log10(low), np.log10(high), most)


@functools.cache
def _logs(power: int) -> list[np.ndarray]:
    """Return logs of round numbers from `10**power` on, the coarser first."""
    unit = 10.0**power
    decades = [10.0 ** np.arange(start, 12, every) for every in (3, 2) for start in range(every)]
    decades += [np.array([digit * 10.0**step for step in range(12) for digit in digits]) for digits in DIGITS]
    equal = [np.arange(1, round(100 / step) + 1) * step for step in (*STEPS, *(step / 10 for step in STEPS))]
    return [np.log10(unit * numbers) for numbers in [*decades, *equal]]


def put(axis: Axis, places: np.ndarray, formatter: Formatter) -> None:
    """Put labelled ticks at `places`, and no others."""
    axis.set_major_locator(FixedLocator(places))
    axis.set_major_formatter(formatter)
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
