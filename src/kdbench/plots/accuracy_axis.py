"""An axis for accuracies near 1: as wide between 99.5% and 99.8% as between 95% and 98%."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

# Errors in percent that read well as accuracies: 99.95, 99.9, 99.8, 99.7, 99.5, 99.3, 99, 98, ...
TICKS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 2, 3, 5, 7, 10, 20, 30, 50, 70, 90, 95, 99)
MOST_TICKS = {"x": 6, "y": 16}  # that the length of an axis has room for
FLOOR = 0.0002  # of the error: a network without errors has to stand somewhere


def scaled(accuracy: pd.Series | float) -> pd.Series | float:
    """Return the place of an accuracy (a fraction) on the axis: minus the log of the error."""
    return -np.log10(np.maximum(1 - accuracy, FLOOR))


def error_bars(accuracy: pd.Series, std: pd.Series) -> np.ndarray:
    """Return the lengths (2, n) of bars of ± `std` on the axis; where there is no spread, zero."""
    std = std.fillna(0)
    return np.array([scaled(accuracy) - scaled(accuracy - std), scaled(accuracy + std) - scaled(accuracy)])


def ticks(axis: Axis, values: pd.Series) -> None:
    """Put accuracy ticks on `axis` and make it span `values` (scaled)."""
    low, high = values.min(), values.max()
    margin = max(0.08 * (high - low), 0.05)
    places = {-np.log10(tick / 100): tick for tick in TICKS}
    axis.axes.set(**{f"{axis.axis_name}lim": (low - margin, high + margin)})
    shown: list[float] = []
    apart = (high - low) / MOST_TICKS[axis.axis_name]
    for place in sorted(places, reverse=True):
        if low - margin <= place <= high + margin and (not shown or shown[-1] - place > apart):
            shown.append(place)
    axis.set_major_locator(FixedLocator(shown))
    axis.set_major_formatter(FuncFormatter(lambda place, _: f"{100 - 100 * 10**-place:.4g}%"))
    axis.set_minor_locator(NullLocator())
