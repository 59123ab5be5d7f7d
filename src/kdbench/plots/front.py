"""Accuracy against what a variant costs: every variant, and the front of those that nothing beats on both."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from kdbench.plots import accuracy_axis, front_names, style
from kdbench.plots.labels import place
from kdbench.results.lines import size
from kdbench.results.summary import TIMINGS, machines, summarise

COLOR = "#D55E00"  # of the front
OUT_OF_VIEW = 5  # times the error of the worst baseline: who errs more would press all others into a stripe
WIDTH, HEIGHT = 10, 5.7  # inches of a panel
CHARACTER_INCHES = 0.064  # of a list


@dataclass(frozen=True)
class Expense:
    """What accuracy is held against, of which less is better: a column, and how its axis reads."""

    column: str
    title: str
    shown: Callable[[float], str]


DENSE = Expense("size_bytes", "bytes of model.onnx (log)", size)
PACKED = Expense("packed_bytes", "bytes of model.kdz, the packed file (log)", size)
LATENCY = Expense("latency_ms", "ms for one image, one thread (log)", lambda value: f"{value:g}")


def chart(runs: pd.DataFrame, title: str, costs: Sequence[Expense]) -> Figure | None:
    """Return a chart of a panel for each of `costs` that at least two variants have; None if there is no such cost.

    What is not drawn is counted below the axis: variants without that cost, and those that err too often to be in
    view. Times are those of one machine, which the axis names if there are several.
    """
    means = summarise(runs)
    costs = [cost for cost in costs if means[cost.column].count() > 1]
    if not costs:
        return None
    shown = [in_view(means.dropna(subset=cost.column)) for cost in costs]
    fronts = [on_front(part, cost) for part, cost in zip(shown, costs, strict=True)]
    lists = [front_names.listed(best) for best in fronts]
    longest = max(len(line) for text in lists for line in text.split("\n"))
    every = pd.concat(shown)
    figure = style.figure(title, every, WIDTH + CHARACTER_INCHES * longest, 0.9 + HEIGHT * len(costs))
    # Many markers times many points cannot all be named beside the point; the methods stand below.
    methods = means.loc[means.index.isin(every.index), "compress"].unique()
    line = Line2D(
        [], [], color=COLOR, linewidth=1.2, linestyle="--", label="Pareto front: nothing beats it on both axes"
    )
    style.legend(figure, [line, *(style.handle(style.look(method, methods), method) for method in methods)])
    panels = figure.subplots(len(costs), squeeze=False)[:, 0]
    drawn = []
    for axes, cost, part, best, text in zip(panels, costs, shown, fronts, lists, strict=True):
        drawn.append(panel(axes, cost, part, best, methods))
        axes.set_xlabel("\n".join([cost.title, *remarks(runs, means, cost, part)]))
        axes.annotate(
            text, (1, 1), xycoords="axes fraction", xytext=(6, 0), textcoords="offset points", va="top", fontsize=8,
            color=style.INK,
        )  # fmt: skip
    for axes, cost, part, best, text, points in zip(panels, costs, shown, fronts, lists, drawn, strict=True):
        # Only now, when the layout changes no more.
        place(axes, front_names.labels(part, best, cost.column, numbered=bool(text)), points)
    return figure


def in_view(means: pd.DataFrame) -> pd.DataFrame:
    """Return the variants that do not err more than `OUT_OF_VIEW` times as often as the worst baseline, if any."""
    errors = 1 - means["accuracy"]
    return means[~(errors > OUT_OF_VIEW * errors[means["compress"] == "baseline"].max())]


def on_front(means: pd.DataFrame, cost: Expense) -> pd.DataFrame:
    """Return the variants that no other beats on both, from the cheapest."""
    return means[front(means, cost.column)].sort_values([cost.column, "accuracy"])


def front(means: pd.DataFrame, column: str) -> pd.Series:
    """Mark the variants that no other beats: one that costs and errs no more, and is better in one of the two."""
    best = means.groupby(column)["accuracy"].max()  # sorted by the cost
    better = best[best > best.cummax().shift(fill_value=-1.0)]
    return means["accuracy"] == means[column].map(better)


def panel(
    axes: Axes, cost: Expense, means: pd.DataFrame, best: pd.DataFrame, methods: Sequence[str]
) -> list[tuple[float, float]]:
    """Draw the variants and the front, `best`; return points that labels keep clear of.

    `methods` are all of the chart.
    """
    style.tidy(axes)
    axes.set_ylabel("test accuracy (log of the error)")
    costs, heights = means[cost.column], accuracy_axis.scaled(means["accuracy"])
    style.log_axis(axes, costs, FuncFormatter(lambda value, _: cost.shown(value)), most=10)
    lengths = accuracy_axis.error_bars(means["accuracy"], means["accuracy_std"])
    bars = pd.DataFrame(lengths.T, means.index, ["down", "up"])
    accuracy_axis.span(axes.yaxis, pd.concat([heights - bars["down"], heights + bars["up"]]))
    for method, members in means.groupby("compress", sort=False):
        look = style.look(str(method), methods)
        style.points(axes, costs[members.index], heights[members.index], look, yerr=bars.loc[members.index].T)
    corners = list(zip(costs[best.index], heights[best.index], strict=True))
    axes.step(*zip(*corners, strict=True), where="post", color=COLOR, linewidth=1.2, linestyle="--", zorder=2)
    places = zip(costs, heights, bars["down"], bars["up"], strict=True)
    return [
        *front_names.along(corners),
        *((x, y) for x, at, down, up in places for y in np.linspace(at - down, at + up, 15)),
    ]


def remarks(runs: pd.DataFrame, means: pd.DataFrame, cost: Expense, shown: pd.DataFrame) -> list[str]:
    """Return what is to be said below an axis: whose times they are, and which of `means` are not `shown`."""
    lines = []
    if cost.column in TIMINGS and runs["machine"].nunique() > 1:
        lines.append(textwrap.fill(f"on {machines(runs)[0]}", 80))
    lacking = means[cost.column].isna().sum()
    if lacking:
        lines.append(f"{lacking} of {len(means)} variants have none")
    if hidden := len(means) - lacking - len(shown):
        lines.append(f"{hidden} that err over {OUT_OF_VIEW} times as often as the worst baseline are out of view")
    return lines
