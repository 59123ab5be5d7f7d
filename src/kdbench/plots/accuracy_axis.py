"""An axis for accuracies near 1: as wide between 99.5% and 99.8% as between 95% and 98%."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter

from kdbench.plots import ticks

FLOOR = 0.0002  # of the error: a network without errors has to stand somewhere
MOST_TICKS = {"x": 6, "y": 12}  # that the length of an axis has room for
STEPS = (50, 20, 10, *(step / 10**power for power in range(4) for step in ticks.STEPS))  # percent
FINEST = 0.005


def scaled(accuracy: pd.Series | float) -> pd.Series | float:
    """Return the place of an accuracy (a fraction) on the axis: minus the log of the error."""
    return -np.log10(np.maximum(1 - accuracy, FLOOR))


def error_bars(accuracy: pd.Series, std: pd.Series) -> np.ndarray:
    """Return the lengths (2, n) of bars of ± `std` on the axis; where there is no spread, zero."""
    std = std.fillna(0)
    return np.array([scaled(accuracy) - scaled(accuracy - std), scaled(accuracy + std) - scaled(accuracy)])


def span(axis: Axis, values: pd.Series) -> None:
    """Make `axis` span `values` (scaled), with as many accuracies as ticks as have room."""
    low, high = limits(values.min(), values.max())
    axis.axes.set(**{f"{axis.axis_name}lim": (low, high)})
    places = ticks.best(candidates(), low, high, MOST_TICKS[axis.axis_name])
    ticks.put(axis, places, FuncFormatter(lambda place, _: shown(place)))


def limits(low: float, high: float) -> tuple[float, float]:
    """Return the ends of an axis on which points from `low` to `high` (scaled) stand clear of them."""
    margin = max(0.08 * (high - low), 0.05)
    return min(low - margin, scaled(1.0) - 0.5), high + margin


@functools.cache
def candidates() -> list[np.ndarray]:
    """Return sets of accuracies (scaled) that read well, the coarser first: by decades of errors, in equal steps."""
    decades = [[digit * 10.0**power for power in range(-2, 2) for digit in digits] for digits in ticks.DIGITS]
    steps = [step for step in STEPS if step >= FINEST]
    equal = [np.arange(1, min(round(100 / step), 2000) + 1) * step for step in steps]
    errors = [np.unique([*percent, 100.0]).round(6) / 100 for percent in [*decades, *equal]]
    return [-np.log10(one[one >= FLOOR]) for one in errors]


def shown(place: float) -> str:
    """Return the accuracy at a place of the axis, the last of which stands for all better ones too."""
    percent = f"{100 - 100 * 10**-place:.6g}%"
    return percent if place < scaled(1.0) else f"\u2265{percent}"
