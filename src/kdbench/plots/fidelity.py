"""Does a student do what its teacher does, and is it the better for it? Agreement against accuracy."""

from __future__ import annotations

import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from kdbench.plots import accuracy_axis, style
from kdbench.plots.labels import Label, place
from kdbench.results.summary import summarise

METHODS = ("distill",)
MOST_LABELS = 14
UNKNOWN = "#bbbbbb"  # of rows of before the size was written down


def draw(runs: pd.DataFrame) -> Figure | None:
    """Return the chart, or None if fewer than two variants had a teacher.

    A marker's colour is the number of images that the student learnt from. (Stanton et al. 2021, figure 1.)
    """
    taught = runs[(runs["teacher"] != "") & runs["agreement"].notna()]
    if len(taught) > 1:
        taught = summarise(taught)
    if len(taught) < 2:
        return None
    figure = style.figure("Agreement with the teacher, and accuracy", taught, 9.5, 6)
    axes = figure.add_subplot()
    style.tidy(axes)
    across, up = (accuracy_axis.scaled(taught[name]) for name in ("agreement", "accuracy"))
    bars = [accuracy_axis.error_bars(taught[name], taught[f"{name}_std"]) for name in ("agreement", "accuracy")]
    axes.errorbar(across, up, xerr=bars[0], yerr=bars[1], fmt="none", ecolor=style.FAINT, elinewidth=1, zorder=1)
    counts = taught["transfer_images"]
    known = counts.notna()
    norm = LogNorm(counts.min() / 1.5, counts.max() * 1.5) if known.any() else None
    for method, members in taught.groupby("compress", sort=False):
        marker = style.look(str(method), taught["compress"]).marker
        common = {"marker": marker, "s": 46, "edgecolor": "white", "linewidth": 0.6, "zorder": 3}
        there = members.index[known[members.index]]
        axes.scatter(across[there], up[there], c=counts[there], norm=norm, cmap="viridis", **common)
        missing = members.index.difference(there)
        axes.scatter(across[missing], up[missing], color=UNKNOWN, **common)
        axes.plot([], [], marker, color="#555555", label=method)
    if norm is not None:
        bar = figure.colorbar(axes.collections[-2 if axes.collections[-1].get_array() is None else -1], ax=axes)
        bar.set_label("images that it learnt from (log)", fontsize=9)
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        bar.ax.tick_params(labelsize=8, which="both")
        bar.ax.minorticks_off()
    accuracy_axis.span(axes.xaxis, pd.concat([across - bars[0][0], across + bars[0][1]]))
    accuracy_axis.span(axes.yaxis, pd.concat([up - bars[1][0], up + bars[1][1]]))
    axes.set_xlabel("test images on which student and teacher agree (log of the rest)")
    axes.set_ylabel("test accuracy (log of the error)")
    if taught["compress"].nunique() > 1:
        figure.legend(
            *axes.get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False, fontsize=9
        )
    # One name for all points of a student under one teacher, at the best, unless each is called by a name.
    best = taught.sort_values("accuracy").drop_duplicates(["called", "name", "teacher"], keep="last")
    labels = [
        Label(line["called"] or f"{line['name']} \u2190 {line['teacher']}", across[index], up[index])
        for index, line in best.iterrows()
    ]
    place(axes, labels[:MOST_LABELS], list(zip(across, up, strict=True)))
    return figure
