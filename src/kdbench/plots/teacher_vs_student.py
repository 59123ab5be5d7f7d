"""What a student gives up against its teacher, and how many times smaller it is."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from kdbench.plots import style
from kdbench.plots.labels import Label, place
from kdbench.results.names import students as named
from kdbench.results.summary import summarise

METHODS = ("distill",)


def draw(runs: pd.DataFrame) -> Figure | None:
    """Return the chart, or None if no run had a teacher."""
    students = runs[runs["teacher"] != ""]
    if students.empty:
        return None
    # Each run measured its own teacher, on the same test images.
    pairs = summarise(students.assign(given_up=students["teacher_accuracy"] - students["accuracy"]))
    smaller = pairs["teacher_size_bytes"] / pairs["size_bytes"]
    given_up = 100 * pairs["given_up"]
    spread = 100 * pairs["given_up_std"].fillna(0)

    figure = style.figure("What a student gives up against its teacher", pairs, 9.5, 5.8)
    axes = figure.add_subplot()
    style.tidy(axes)
    style.log_axis(axes, smaller, FuncFormatter(style.multiple), most=12, margin=1.7)
    low, high = min((given_up - spread).min(), 0), max((given_up + spread).max(), 0)
    margin = max(0.15 * (high - low), 0.05)
    axes.set_ylim(high + margin, low - margin)  # downwards: what is lost
    axes.axhline(0, color=style.INK, linewidth=1)
    goal = axes.annotate(
        "as accurate as the teacher",
        (1, 0),
        xycoords=("axes fraction", "data"),
        xytext=(-2, 3),
        textcoords="offset points",
        ha="right",
        fontsize=8.5,
        color="#555555",
    )
    for method, members in pairs.groupby("compress", sort=False):
        look = style.look(str(method), pairs["compress"])
        places = smaller[members.index], given_up[members.index]
        style.points(axes, *places, look, yerr=spread[members.index])
    axes.set_xlabel("times smaller than the teacher (bytes of model.onnx, log)")
    axes.set_ylabel("accuracy given up (percentage points)")
    names = named(pairs, methods=set(pairs["compress"]) != {"distill"})
    points = list(zip(smaller, given_up, strict=True))
    drawn = [
        (x, y)
        for x, at, bar in zip(smaller, given_up, spread, strict=True)
        for y in np.linspace(at - bar, at + bar, 9)
    ]
    zero = [(x, 0.0) for x in np.geomspace(*axes.get_xlim(), 60)]
    labels = [Label(name, x, y) for name, (x, y) in zip(names, points, strict=True)]
    place(axes, labels, [*drawn, *zero], texts=[goal])
    return figure
