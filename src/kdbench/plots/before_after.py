"""Two values for each line, joined: the panel of which the charts of one method are made."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from kdbench.plots import accuracy_axis, style
from kdbench.plots.style import LOOKS, Look
from kdbench.results.names import students
from kdbench.results.summary import TIMINGS, beside_baselines, disturbed, summarise

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


def chart(
    runs: pd.DataFrame, methods: Sequence[str], title: str, ends: tuple[str, str], amounts: Sequence[Amount | Ratio]
) -> Figure | None:
    """Return a chart of accuracy and of each of `amounts`, a line for each network and method.

    `ends` names before and after. None if no run of `methods` has its baseline, of the same seed, among `runs`.
    Times are those of one machine, which the axis names if there are several. An amount that no line has is left
    out; a line that lacks one says so.
    """
    pairs = joined(runs, methods)
    if pairs.empty:
        return None
    note = "no times: all were disturbed" if amounts and disturbed(pairs).all() else ""
    amounts = [one for one in amounts if one.measured(pairs).any()]
    several = runs["machine"].nunique() > 1
    longest = max(map(len, pairs["line"]))
    width = 7.5 + 2.4 * len(amounts) + 0.08 * max(longest - 30, 0)
    figure = style.figure(title, pairs, width, 1.9 + 0.36 * len(pairs), note)
    panels = figure.subplots(1, 1 + len(amounts), squeeze=False, width_ratios=[1.3] + [1] * len(amounts))[0]
    look = style.look(methods[0], methods[:1])
    for number, axes in enumerate(panels):
        places = rows(axes, list(pairs["line"]), first=number == 0)
        if number == 0:
            accuracy(axes, pairs, places, look)
            name_ends(axes, pairs.iloc[0], places[0], ends, look)
            continue
        one = amounts[number - 1]
        there = one.measured(pairs).to_numpy()
        one.draw(axes, pairs[there], places[there], look)
        for place, was_disturbed in zip(places[~there], disturbed(pairs)[~there], strict=True):
            _lacking(axes, place, "disturbed: no times" if was_disturbed else "not measured")
        on = f"\n{textwrap.fill('on ' + pairs['machine'].iloc[0], 38)}" if several and one.column in TIMINGS else ""
        axes.set_xlabel(one.title + on, fontsize=9)
        for tick in axes.get_xticklabels():
            tick.set_fontsize(8)
    return figure


def joined(runs: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    """Return the variants of `methods` with their baselines' numbers as `*_before`, and what to call each `line`."""
    pairs = beside_baselines(runs[runs["compress"].isin(["baseline", *methods])])
    if pairs.empty:
        return pairs
    pairs = summarise(pairs)
    return pairs.assign(line=students(pairs, methods=pairs["compress"].nunique() > 1))


def rows(axes: Axes, names: Sequence[str], first: bool) -> np.ndarray:
    """Prepare one horizontal line for each name, from the top; return their y. Names stand at the first panel."""
    places = np.arange(len(names))[::-1]
    style.tidy(axes)
    axes.grid(False, axis="y")
    axes.set_ylim(-0.7, len(names) - 0.3)
    axes.set_yticks(places, names if first else [""] * len(names))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    return places


def accuracy(axes: Axes, pairs: pd.DataFrame, places: np.ndarray, after: Look) -> None:
    """Draw accuracy before and after, with the difference in percentage points."""
    names = ("accuracy_before", "accuracy")
    ends = [accuracy_axis.scaled(pairs[name]) for name in names]
    bars = [accuracy_axis.error_bars(pairs[name], pairs[f"{name}_std"]) for name in names]
    _dumbbells(axes, places, ends[0], ends[1], after, bars)
    reached = [edge for at, (down, up) in zip(ends, bars, strict=True) for edge in (at - down, at + up)]
    accuracy_axis.span(axes.xaxis, pd.concat(reached))
    gained = [
        f"{100 * mean:+.2f}" + ("" if pd.isna(std) else f" ± {100 * std:.2f}")
        for mean, std in zip(pairs["gained"], pairs["gained_std"], strict=True)
    ]
    _remarks(axes, places, gained, "points")
    axes.set_xlabel("test accuracy (log of the error)", fontsize=9)


def amount(axes: Axes, pairs: pd.DataFrame, places: np.ndarray, after: Look, column: str) -> None:
    """Draw a positive amount before and after on a log axis, with after as a multiple of before."""
    before, now = pairs[f"{column}_before"], pairs[column]
    _dumbbells(axes, places, before, now, after, None)
    values = pd.concat([before, now])
    if column.endswith("bytes"):
        style.byte_axis(axes, values, MOST_TICKS)
    else:
        style.log_axis(axes, values, FuncFormatter(lambda value, _: f"{value:g}"), MOST_TICKS)
    _remarks(axes, places, [f"{value:.2f}x" for value in now / before], "")


def ratios(axes: Axes, pairs: pd.DataFrame, places: np.ndarray, after: Look, column: str) -> None:
    """Draw ratios on a log axis, each joined to 1 and with its range."""
    now = pairs[column]
    low, high = pairs[f"{column}_low"].fillna(now), pairs[f"{column}_high"].fillna(now)
    axes.axvline(1, color=LOOKS["baseline"].color, linewidth=1, zorder=1)
    axes.hlines(places, 1, now, color=style.FAINT, linewidth=2, zorder=1)
    style.points(axes, now, places, after, xerr=np.array([now - low, high - now]).clip(min=0))
    reached = pd.concat([low, high, pd.Series([1.0])])
    style.log_axis(axes, reached, FuncFormatter(style.multiple), MOST_TICKS + 1, margin=1.15)
    _remarks(axes, places, [f"{value:.2f}x" for value in now], "")


def name_ends(axes: Axes, line: pd.Series, place: float, ends: tuple[str, str], after: Look) -> None:
    """Write at the first line which end is which, each name on its own side."""
    before_is_left = line["accuracy_before"] <= line["accuracy"]
    for name, column, color, left in (
        (ends[0], "accuracy_before", LOOKS["baseline"].color, before_is_left),
        (ends[1], "accuracy", after.color, not before_is_left),
    ):
        axes.annotate(
            name,
            (accuracy_axis.scaled(line[column]), place),
            xytext=(-4 if left else 4, 6),
            textcoords="offset points",
            ha="right" if left else "left",
            fontsize=8.5,
            color=color,
        )


def _dumbbells(
    axes: Axes, places: np.ndarray, before: pd.Series, after: pd.Series, look: Look, bars: list[np.ndarray] | None
) -> None:
    axes.hlines(places, before, after, color=style.FAINT, linewidth=2, zorder=1)
    # A little apart, so that equal values and their bars do not hide each other.
    heights = (places + 0.08, places - 0.08) if bars else (places, places)
    ends = ((before, LOOKS["baseline"]), (after, look))
    for (values, end), height, bar in zip(ends, heights, bars or (None, None), strict=True):
        style.points(axes, values, height, end, xerr=bar)


def _lacking(axes: Axes, place: float, why: str) -> None:
    """Write in the middle of a line why nothing is drawn there."""
    axes.annotate(
        why,
        (0.5, place),
        xycoords=("axes fraction", "data"),
        ha="center",
        va="center",
        fontsize=8.5,
        color="#555555",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
    )


def _remarks(axes: Axes, places: np.ndarray, texts: Sequence[str], unit: str) -> None:
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
