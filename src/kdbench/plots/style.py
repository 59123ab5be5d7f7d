"""How every chart looks: colours safe for colour-blind readers, one marker a method so that grey print works too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, FuncFormatter

from kdbench.plots import ticks
from kdbench.results.lines import size


@dataclass(frozen=True)
class Look:
    """Colour (Okabe and Ito 2008; their lightness differs too) and marker of a method."""

    color: str
    marker: str


LOOKS = {
    "baseline": Look("#000000", "o"),
    "quantize": Look("#0072B2", "s"),
    "prune": Look("#E69F00", "v"),
    "distill": Look("#009E73", "D"),
}
OTHERS = [Look("#CC79A7", "P"), Look("#56B4E9", "X"), Look("#D55E00", "^"), Look("#999999", "*")]
OTHERS += [Look("#0072B2", "<"), Look("#E69F00", ">"), Look("#009E73", "p"), Look("#CC79A7", "h")]
HEAD_INCHES = 0.62  # kept free above the axes for the title and the line below it
INK, FAINT = "#222222", "#bbbbbb"


def look(method: str, methods: Iterable[str]) -> Look:
    """Return the look of `method` among all `methods` of the chart; unknown ones get the free looks in order."""
    if method in LOOKS:
        return LOOKS[method]
    unknown = sorted(set(methods) - set(LOOKS))
    return OTHERS[unknown.index(method) % len(OTHERS)]


def figure(title: str, frame: pd.DataFrame, width: float, height: float, note: str = "") -> Figure:
    """Return an empty figure under a title, with the data set, the number of seeds, and a `note`, if there is one."""
    made = Figure(figsize=(width, height), layout="constrained")
    made.get_layout_engine().set(rect=(0, 0, 1, 1 - HEAD_INCHES / height))
    made.text(0.01, 1 - 0.1 / height, title, ha="left", va="top", fontsize=13, fontweight="bold", color=INK)
    seeds = sorted(set(frame["seeds"]))
    counted = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    spread = "one seed, no spread known" if seeds[-1] == 1 else f"means of {counted} seeds, bars ± 1 std"
    images = int(frame["test_images"].iloc[0])
    text = f"{frame['dataset'].iloc[0]}, {images:,} test images, {spread}{note and f'; {note}'}"
    made.text(0.01, 1 - 0.42 / height, text, ha="left", va="top", fontsize=9.5, color="#555555")
    return made


def points(axes: Axes, x: Any, y: Any, look: Look, **bars: Any) -> None:
    """Draw the points of one method, with the error bars and the label given as for `Axes.errorbar`."""
    axes.errorbar(
        x,
        y,
        fmt=look.marker,
        color=look.color,
        markersize=6.5,
        markeredgecolor="white",
        markeredgewidth=0.6,
        elinewidth=1,
        zorder=3,
        **bars,
    )


def tidy(axes: Axes) -> None:
    """Remove what carries no information."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(color=FAINT, labelcolor=INK, labelsize=9)
    axes.grid(True, color="#eeeeee", linewidth=0.8)
    axes.set_axisbelow(True)


def byte_axis(axes: Axes, values: pd.Series, most: int) -> None:
    """Make x a log axis in bytes, with room for about `most` ticks."""
    log_axis(axes, values, FuncFormatter(lambda value, _: size(value)), most)


def log_axis(axes: Axes, values: pd.Series, formatter: Formatter, most: int, margin: float = 1.6) -> None:
    """Make x a log axis on which `values` stand clear of the ends, with room for about `most` ticks."""
    low, high = values.min() / margin, values.max() * margin
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    ticks.put(axes.xaxis, ticks.round_numbers(low, high, most), formatter)


def multiple(value: float, _: object = None) -> str:
    """Return a ratio in words."""
    return f"{value:g}x"
