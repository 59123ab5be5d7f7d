"""A panel of numbers before and after, a line each, and what is drawn on its lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from kdbench.plots import style
from kdbench.plots.style import LOOKS, Look

MOST_TICKS = 4  # of a panel beside that of the accuracies


@dataclass(frozen=True)
class Amount:
    """A panel of a positive number before and after; it is also shown as a multiple."""

    column: str
    title: str

    def measured(self, pairs: pd.DataFrame) -> pd.Series:
        """Return which of the lines have it."""
        return (pairs[self.column] / pairs[f"{self.column}_before"]).notna()

    def draw(self, axes: Axes, pairs: pd.DataFrame, places: np.ndarray, look: Look) -> None:
        """Draw both ends of each line."""
        amount(axes, pairs, places, look, self.column)


@dataclass(frozen=True)
class Ratio:
    """A panel of a number that is itself a ratio to what was before, with its range (`*_low`, `*_high`)."""

    column: str
    title: str

    def measured(self, pairs: pd.DataFrame) -> pd.Series:
        """Return which of the lines have it."""
        return pairs[self.column].notna()

    def draw(self, axes: Axes, pairs: pd.DataFrame, places: np.ndarray, look: Look) -> None:
        """Draw each ratio, from 1, with its range."""
        ratios(axes, pairs, places, look, self.column)


# Of the packed file no gzip is shown: of 158 files of many methods it was as large within 1% (median 1.001 times).
BYTES = (
    Amount("size_bytes", "bytes of model.onnx (log)"),
    Amount("size_gzip_bytes", "bytes of model.onnx, gzipped (log)"),
    Amount("packed_bytes", "bytes of model.kdz, packed (log)"),
)


def amount(axes: Axes, pairs: pd.DataFrame, places: np.ndarray, after: Look, column: str) -> None:
    """Draw a positive amount before and after on a log axis, with after as a multiple of before."""
    before, now = pairs[f"{column}_before"], pairs[column]
    dumbbells(axes, places, before, now, after, None)
    values = pd.concat([before, now])
    if column.endswith("bytes"):
        style.byte_axis(axes, values, MOST_TICKS)
    else:
        style.log_axis(axes, values, FuncFormatter(lambda value, _: f"{value:g}"), MOST_TICKS)
    remarks(axes, places, [f"{value:.2f}x" for value in now / before], "")


def ratios(axes: Axes, pairs: pd.DataFrame, places: np.ndarray, after: Look, column: str) -> None:
    """Draw ratios on a log axis, each joined to 1 and with its range."""
    now = pairs[column]
    low, high = pairs[f"{column}_low"].fillna(now), pairs[f"{column}_high"].fillna(now)
    axes.axvline(1, color=LOOKS["baseline"].color, linewidth=1, zorder=1)
    axes.hlines(places, 1, now, color=style.FAINT, linewidth=2, zorder=1)
    style.points(axes, now, places, after, xerr=np.array([now - low, high - now]).clip(min=0))
    reached = pd.concat([low, high, pd.Series([1.0])])
    style.log_axis(axes, reached, FuncFormatter(style.multiple), MOST_TICKS + 1, margin=1.15)
    remarks(axes, places, [f"{value:.2f}x" for value in now], "")


def dumbbells(
    axes: Axes, places: np.ndarray, before: pd.Series, after: pd.Series, look: Look, bars: list[np.ndarray] | None
) -> None:
    """Draw two values on each line, joined, with their error `bars` if there are any."""
    axes.hlines(places, before, after, color=style.FAINT, linewidth=2, zorder=1)
    # A little apart, so that equal values and their bars do not hide each other.
    heights = (places + 0.08, places - 0.08) if bars else (places, places)
    ends = ((before, LOOKS["baseline"]), (after, look))
    for (values, end), height, bar in zip(ends, heights, bars or (None, None), strict=True):
        style.points(axes, values, height, end, xerr=bar)


def remarks(axes: Axes, places: np.ndarray, texts: Sequence[str], unit: str) -> None:
    """Write one remark a line at the right edge, outside the axes."""
    for place, text in zip(places, texts, strict=True):
        axes.annotate(
            text,
            (1, place),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=style.INK,
        )
    if unit:
        axes.annotate(
            unit,
            (1, 1),
            xycoords="axes fraction",
            xytext=(4, 2),
            textcoords="offset points",
            fontsize=8,
            color="#555555",
        )
