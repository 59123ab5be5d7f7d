"""Accuracy as a setting goes up: the panel of which the charts over one number are made."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter

from kdbench.plots import accuracy_axis, style
from kdbench.plots.labels import Label, place
from kdbench.results.summary import VERSIONS, summarise

MOST = 12  # curves, each named beside its end
LOOKS = [*style.LOOKS.values(), *style.OTHERS]


def knob(settings: pd.Series, name: str) -> pd.Series:
    """Return the number that the words of each line's settings give for `name`; NaN where there is none."""
    return pd.to_numeric(settings.str.extract(rf"(?:^|\s){name}=(\S+)")[0], errors="coerce")


def without_knob(settings: pd.Series, name: str) -> pd.Series:
    """Return the other words of each line's settings."""
    return settings.str.replace(rf"(?:^|\s){name}=\S+", "", regex=True).str.strip()


def curves(lines: pd.DataFrame, least: int) -> list[pd.DataFrame]:
    """Return the lines that differ in their `x` alone, sorted by it, where there are at least `least`.

    What else they are is their `network`, method, teacher, code, and `rest`. Of several lines at one `x` that differ
    in none of these (but in what their robust accuracy was measured by, say), the one of most seeds is taken.
    """
    keys = ["network", "compress", "teacher", "teacher_settings", "rest", "code_hash", *VERSIONS]
    most = lines.sort_values("seeds", ascending=False, kind="stable").drop_duplicates([*keys, "x"]).sort_index()
    found = [group.sort_values("x") for _, group in most.groupby(keys, sort=False)]
    return [group for group in found if len(group) >= least]


def chart(
    runs: pd.DataFrame, prepare: Callable[[pd.DataFrame], pd.DataFrame], title: str, axis: str, least: int, log: bool
) -> Figure | None:
    """Return a chart of the accuracy over what `prepare` puts into `x` of each line; None without any curve.

    `prepare` also puts into `rest` what of the settings distinguishes curves, into `network` what of the network, if
    that is not all of it, and leaves out the lines of none. A dashed line is the same network without a teacher.
    """
    means = summarise(runs)
    every = curves(prepare(means.assign(network=means["network_hash"])), least)
    if not every:
        return None
    found = every[:MOST]
    together = pd.concat(found)
    note = f"the first {MOST} of {len(every)} curves" if len(every) > MOST else ""
    figure = style.figure(title, together, 9, 5.6, note)
    axes = figure.add_subplot()
    style.tidy(axes)
    if log:
        style.log_axis(axes, together["x"], FuncFormatter(lambda value, _: f"{value:,g}"), most=10, margin=1.5)
    else:
        axes.set_xticks(sorted(together["x"].unique()))
        axes.margins(x=0.15)
    names = labels_of(found)
    reached, labels, drawn = [], [], []
    for lines, name, look in zip(found, names, LOOKS, strict=False):
        heights = accuracy_axis.scaled(lines["accuracy"])
        bars = accuracy_axis.error_bars(lines["accuracy"], lines["accuracy_std"])
        axes.plot(lines["x"], heights, color=look.color, linewidth=1.2, zorder=2)
        style.points(axes, lines["x"], heights, look, yerr=bars)
        reached += [heights - bars[0], heights + bars[1]]
        labels.append(Label(name, lines["x"].iloc[-1], heights.iloc[-1]))
        drawn += points_along(lines["x"], heights, log)
        drawn += points_of_bars(lines["x"], heights - bars[0], heights + bars[1])
    heights, texts = alone(axes, found)
    reached.append(heights)
    accuracy_axis.span(axes.yaxis, pd.concat(reached))
    axes.set_xlabel(axis)
    axes.set_ylabel("test accuracy (log of the error)")
    place(axes, labels, drawn, texts)
    return figure


def labels_of(found: list[pd.DataFrame]) -> list[str]:
    """Return what to call each curve: network and method where they differ, and what else does."""
    firsts = pd.DataFrame([lines.iloc[0] for lines in found])
    for column in ("name", "compress"):
        if firsts[column].nunique() == 1 and len(firsts) > 1:
            firsts[column] = ""
    apart = rests(firsts)
    bare = [" ".join(filter(None, pair)) for pair in zip(firsts["name"], firsts["compress"], strict=True)]
    return [f"{name} {other}".strip() for name, other in zip(bare, apart, strict=True)]


def rests(firsts: pd.DataFrame) -> list[str]:
    """Return the words of `rest` and the teacher that not all curves share."""
    words = [[*str(rest).split(), *([f"\u2190 {teacher}"] if teacher else [])] for rest, teacher in
             zip(firsts["rest"], firsts["teacher"], strict=True)]  # fmt: skip
    shared = set.intersection(*map(set, words)) if len(words) > 1 else set()
    return [" ".join(word for word in own if word not in shared) for own in words]


def alone(axes: Axes, found: list[pd.DataFrame]) -> tuple[pd.Series, list[Text]]:
    """Draw each network without a teacher, where it is there; return the places of the lines, and the texts there."""
    bare = pd.concat(found).dropna(subset="baseline_accuracy").drop_duplicates("network")
    heights = accuracy_axis.scaled(bare["baseline_accuracy"])
    texts = []
    for height, name in zip(heights, bare["name"], strict=True):
        axes.axhline(height, color=style.LOOKS["baseline"].color, linewidth=1, linestyle="--", zorder=1)
        text = axes.annotate(
            f"{name} without a teacher",
            (0, height),
            xycoords=("axes fraction", "data"),
            xytext=(3, 3),
            textcoords="offset points",
            fontsize=8,
            color="#555555",
        )
        texts.append(text)
    return heights, texts


def points_along(x: pd.Series, heights: pd.Series, log: bool) -> list[tuple[float, float]]:
    """Return points along a curve, for labels to keep clear of."""
    places = np.log(x) if log else x
    between = np.linspace(places.min(), places.max(), 60)
    return list(zip(np.exp(between) if log else between, np.interp(between, places, heights), strict=True))


def points_of_bars(x: pd.Series, low: pd.Series, high: pd.Series) -> list[tuple[float, float]]:
    """Return points along error bars, for labels to keep clear of; none of a single seed's."""
    bars = zip(x, low, high, strict=True)
    return [(place, height) for place, *ends in bars if ends[0] < ends[1] for height in np.linspace(*ends, 12)]
