"""Accuracy against bytes: every variant, and the front of those that nothing beats on both."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from kdbench.plots import accuracy_axis, style
from kdbench.plots.labels import Label, place
from kdbench.results.summary import summarise

METHODS: tuple[str, ...] = ()  # any two variants


def draw(runs: pd.DataFrame) -> Figure | None:
    """Return the chart, or None if there are fewer than two variants."""
    frame = summarise(runs)
    if len(frame) < 2:
        return None
    figure = style.figure("Accuracy against size of the file that ships", frame, 10, 6.6)
    axes = figure.add_subplot()
    style.tidy(axes)
    heights = accuracy_axis.scaled(frame["accuracy"])
    style.byte_axis(axes, frame["size_bytes"], most=12)
    bars = pd.DataFrame(
        accuracy_axis.error_bars(frame["accuracy"], frame["accuracy_std"]).T, frame.index, ["down", "up"]
    )
    accuracy_axis.span(axes.yaxis, pd.concat([heights - bars["down"], heights + bars["up"]]))
    for method, members in frame.groupby("compress", sort=False):
        look = style.look(str(method), frame["compress"])
        lengths = bars.loc[members.index].T
        style.points(axes, members["size_bytes"], heights[members.index], look, yerr=lengths, label=method)
    front = frame[pareto(frame)].sort_values("size_bytes")
    axes.step(
        front["size_bytes"],
        heights[front.index],
        where="post",
        color="#D55E00",
        linewidth=1.2,
        linestyle="--",
        zorder=2,
    )
    axes.set_xlabel("bytes of model.onnx (log)")
    axes.set_ylabel("test accuracy (log of the error)")
    # Four markers times 36 points cannot all be named beside the point; the methods stand below, in rows that fit.
    methods = list(frame["compress"].unique())
    lines = math.ceil(sum(len(method) + 8 for method in methods) / 110)
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=math.ceil(len(methods) / lines),
        frameon=False,
        fontsize=9,
    )
    on_front = [
        Label(f"{line['name']} {line['label']}", line["size_bytes"], heights[index], bold=True)
        for index, line in front.iterrows()
    ]
    named = set(front.loc[front["compress"] == "baseline", "network_hash"])
    others = frame[(frame["compress"] == "baseline") & ~frame["network_hash"].isin(named)]
    rest = [Label(line["name"], line["size_bytes"], heights[index]) for index, line in others.iterrows()]
    drawn = [
        (x, y)
        for x, at, down, up in zip(frame["size_bytes"], heights, bars["down"], bars["up"], strict=True)
        for y in np.linspace(at - down, at + up, 40)
    ]
    place(axes, [*on_front, *rest], [*drawn, *along(front, heights)])
    return figure


def along(front: pd.DataFrame, heights: pd.Series) -> list[tuple[float, float]]:
    """Return points along the steps of the front, dense enough that no label falls between them."""
    corners = list(zip(front["size_bytes"], heights[front.index], strict=True))
    points: list[tuple[float, float]] = []
    for (left, low), (right, high) in pairwise(corners):
        points += [(x, low) for x in np.geomspace(left, right, 40)]
        points += [(right, y) for y in np.linspace(low, high, 20)]
    return points


def pareto(frame: pd.DataFrame) -> pd.Series:
    """Mark the variants for which no other is at least as small and at least as accurate, and better in one."""
    ordered = frame.sort_values(["size_bytes", "accuracy"], ascending=[True, False])
    best_before = ordered["accuracy"].cummax().shift(fill_value=-1.0)
    return (ordered["accuracy"] > best_before).reindex(frame.index)
