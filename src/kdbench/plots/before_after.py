"""Two values for each line, joined: the panel of which the charts of one method are made."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdbench.plots import accuracy_axis, style
from kdbench.plots.amounts import Amount, Ratio, dumbbells, remarks
from kdbench.plots.style import LOOKS, Look
from kdbench.results.names import students
from kdbench.results.summary import TIMINGS, beside_baselines, disturbed, summarise


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
    dumbbells(axes, places, ends[0], ends[1], after, bars)
    reached = [edge for at, (down, up) in zip(ends, bars, strict=True) for edge in (at - down, at + up)]
    accuracy_axis.span(axes.xaxis, pd.concat(reached))
    gained = [
        f"{100 * mean:+.2f}" + ("" if pd.isna(std) else f" ± {100 * std:.2f}")
        for mean, std in zip(pairs["gained"], pairs["gained_std"], strict=True)
    ]
    remarks(axes, places, gained, "points")
    axes.set_xlabel("test accuracy (log of the error)", fontsize=9)


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
