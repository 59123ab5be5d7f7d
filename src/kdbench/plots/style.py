"""How every chart looks: colours safe for colour-blind readers, one marker a method so that grey print works too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
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
# The rest of theirs, and three of Tol 2021 ("muted").
COLORS = ("#CC79A7", "#56B4E9", "#D55E00", "#999999", "#882255", "#44AA99", "#332288")
MARKERS = ("P", "X", "^", "d", "<", ">", "p", "h")  # one more than colours, so that every pair comes once
OTHERS = [
    Look(COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]) for number in range(len(COLORS) * len(MARKERS))
]
LEGEND_CHARACTERS = 12.5  # an inch of the legend has room for
HANDLE_CHARACTERS = 7  # that a marker in it and the space around it take
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
    spread = (
        "one seed, no spread known" if seeds[-1] == 1 else f"means of {counted} seeds, bars: ± 1 standard deviation"
    )
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


def handle(look: Look, label: str, line: str = "none") -> Line2D:
    """Return what stands for a method in a legend: its marker, on a line of the style `line`."""
    return Line2D(
        [],
        [],
        color=look.color,
        marker=look.marker,
        markersize=6.5,
        markeredgecolor="white",
        linestyle=line,
        label=label,
    )


def legend(made: Figure, handles: Sequence[Artist]) -> None:
    """Write what `handles` stand for below the axes, in as many columns as the width of the figure has room for."""
    lengths = [len(str(one.get_label())) + HANDLE_CHARACTERS for one in handles]
    room = LEGEND_CHARACTERS * made.get_figwidth()
    fitting = (
        count
        for count in range(len(lengths), 1, -1)
        if sum(max(column) for column in np.array_split(lengths, count)) <= room
    )
    made.legend(
        handles=handles,
        loc="outside lower center",
        ncols=next(fitting, 1),
        frameon=False,
        fontsize=9,
        handlelength=2.4,
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
