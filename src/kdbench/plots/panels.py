"""One panel a network, one line a method: the charts over how much was compressed."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from kdbench.plots import accuracy_axis, curves, style, ticks
from kdbench.plots.style import LOOKS
from kdbench.results.lines import listed
from kdbench.results.names import differing
from kdbench.results.summary import summarise

MOST = 12  # panels
COLUMNS = 3
MARGIN = 1.25  # between what is drawn and the ends of an axis
MOST_TICKS = 14
NAMED = 3  # of networks that are left out
LEAST = 2  # amounts that a network was compressed to: one says nothing of a course
ONE_SHOT = "one-shot"  # not trained after it was compressed: settings of `finetune_epochs=0`


@dataclass(frozen=True)
class LeftAxis:
    """The axis of what is left, from little to `whole` (of the uncompressed network); log.

    Of `ticks` the last set that has room is shown. `inverted`: what is left falls from left to right.
    """

    title: str
    whole: float
    ticks: Sequence[Sequence[float]]
    shown: Callable[[float], str]
    inverted: bool = False

    def span(self, axes: Axes, values: pd.Series) -> None:
        """Make x of `axes` span `values` and the whole."""
        low, high = min(values.min(), self.whole) / MARGIN, max(values.max(), self.whole) * MARGIN
        axes.set_xscale("log")
        axes.set_xlim((high, low) if self.inverted else (low, high))
        places = ticks.best([np.log10(one) for one in self.ticks], np.log10(low), np.log10(high), MOST_TICKS)
        ticks.put(axes.xaxis, 10**places, FuncFormatter(lambda value, _: self.shown(value)))


def chart(
    runs: pd.DataFrame, prepare: Callable[[pd.DataFrame], pd.DataFrame], title: str, amount: LeftAxis
) -> Figure | None:
    """Return a chart of the accuracy over what `prepare` puts into `x` of lines; None if no network has two of it.

    `prepare` also puts what else of the settings distinguishes lines into `rest`; lines without `x` are left out.
    What was not trained after it was compressed is never joined with what was: its lines are dashed, and named
    `ONE_SHOT`.
    """
    means = summarise(runs)
    lines = prepare(means.assign(network=means["network_hash"])).dropna(subset="x")
    several = lines.groupby("network")["x"].transform("nunique") >= LEAST
    left_out, lines = list(lines.loc[~several, "name"].unique()), lines[several]
    if lines.empty:
        return None
    lines = named(lines)
    networks = list(lines["network"].unique())
    note = f"the first {MOST} of {len(networks)} networks" if len(networks) > MOST else ""
    if left_out and not note:
        note = f"not shown, at one amount only: {listed(left_out, NAMED)}"
    networks = networks[:MOST]
    lines = lines[lines["network"].isin(networks)]
    across = min(COLUMNS, len(networks))
    down = math.ceil(len(networks) / across)
    figure = style.figure(title, lines, max(4.0 * across, 7.5), 1.5 + (2.7 if down > 1 else 3.6) * down, note)
    style.legend(figure, handles(lines))
    panels = figure.subplots(down, across, squeeze=False).flat
    for number, axes in enumerate(panels):
        if number >= len(networks):
            axes.remove()
            continue
        own = lines[lines["network"] == networks[number]]
        bare = means[(means["network_hash"] == networks[number]) & (means["compress"] == "baseline")]
        panel(axes, own, bare["accuracy"].mean(), amount, lines["kind"].unique())
        if number + across >= len(networks):
            axes.set_xlabel(amount.title, fontsize=9)
        if number % across == 0:
            axes.set_ylabel("test accuracy (log of the error)", fontsize=9)
    return figure


def named(lines: pd.DataFrame) -> pd.DataFrame:
    """Return the lines with whether they are `one_shot`, and their `kind`: the method, and what differs in `rest`."""
    one_shot = curves.knob(lines["settings"], "finetune_epochs") == 0
    lines = lines.assign(one_shot=one_shot, kind=lines["compress"])
    for _, alike in lines.groupby(["compress", "one_shot"]):
        apart = differing(alike.assign(settings=alike["rest"]), [("settings",)])
        lines.loc[alike.index, "kind"] += apart
    return lines


def panel(axes: Axes, lines: pd.DataFrame, alone: float, amount: LeftAxis, kinds: Sequence[str]) -> None:
    """Draw the lines of one network, and its accuracy uncompressed, `alone` (NaN: not known)."""
    style.tidy(axes)
    axes.set_title(textwrap.fill(lines["name"].iloc[0], 50), fontsize=9.5, loc="left", color=style.INK)
    axes.tick_params(labelsize=8)
    reached = [] if pd.isna(alone) else [pd.Series([accuracy_axis.scaled(alone)])]
    for height in reached:
        axes.axhline(height[0], color=LOOKS["baseline"].color, linewidth=1, linestyle=":", zorder=1)
        style.points(axes, amount.whole, height[0], LOOKS["baseline"])
    for curve in longest(curves.curves(lines, least=1)):
        look = style.look(curve["kind"].iloc[0], kinds)
        heights = accuracy_axis.scaled(curve["accuracy"])
        bars = accuracy_axis.error_bars(curve["accuracy"], curve["accuracy_std"])
        dashes = linestyle(curve["one_shot"].iloc[0])
        axes.plot(curve["x"], heights, color=look.color, linewidth=1.2, linestyle=dashes, zorder=2)
        style.points(axes, curve["x"], heights, look, yerr=bars)
        reached += [heights - bars[0], heights + bars[1]]
    accuracy_axis.span(axes.yaxis, pd.concat(reached))
    amount.span(axes, lines["x"])


def longest(found: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """Return of curves of one kind, which differ in code or versions, that of the most points, or else the latest."""
    best: dict[tuple[str, bool], pd.DataFrame] = {}
    for curve in sorted(found, key=lambda curve: (len(curve), curve["date"].max())):
        best[curve["kind"].iloc[0], curve["one_shot"].iloc[0]] = curve
    return list(best.values())


def linestyle(one_shot: bool) -> str:
    """Return how a line is drawn."""
    return "--" if one_shot else "-"


def handles(lines: pd.DataFrame) -> list[Line2D]:
    """Return what stands for each kind in the legend."""
    kinds = lines["kind"].unique()
    drawn = lines[["kind", "one_shot"]].drop_duplicates().sort_values(["kind", "one_shot"])
    return [
        style.handle(LOOKS["baseline"], "not compressed", ":"),
        *(
            style.handle(style.look(kind, kinds), f"{kind}, {ONE_SHOT}" if one_shot else kind, linestyle(one_shot))
            for kind, one_shot in drawn.itertuples(index=False)
        ),
    ]
