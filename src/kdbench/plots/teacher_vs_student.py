"""What a student gives up against its teacher, and how many times smaller it is."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from kdbench.plots import style
from kdbench.plots.labels import Label, place

NEEDS = "kdbench sweep compress=baseline,distill"


def draw(frame: pd.DataFrame) -> Figure | None:
    """Return the chart of a summary, or None if no student has its teacher's baseline beside it."""
    teachers = frame[frame["compress"] == "baseline"].set_index("network_hash")
    students = frame[(frame["teacher"] != "") & frame["teacher_hash"].isin(teachers.index)]
    if students.empty:
        return None
    pairs = students.join(teachers.add_suffix("_teacher"), on="teacher_hash").reset_index(drop=True)
    smaller = pairs["size_bytes_teacher"] / pairs["size_bytes"]
    given_up = 100 * (pairs["accuracy_teacher"] - pairs["accuracy"])
    spread = 100 * (pairs["accuracy_std"] ** 2 + pairs["accuracy_std_teacher"] ** 2).pow(0.5).fillna(0)

    figure = style.figure("What a student gives up against its teacher", frame, 9.5, 5.8)
    axes = figure.add_subplot()
    style.tidy(axes)
    axes.set_xscale("log")
    axes.set_xlim(smaller.min() / 1.7, smaller.max() * 1.7)
    low, high = min(given_up.min(), 0), max(given_up.max(), 0)
    margin = max(0.15 * (high - low), 0.05)
    axes.set_ylim(high + margin, low - margin)  # downwards: what is lost
    axes.axhline(0, color=style.INK, linewidth=1)
    axes.annotate(
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
        look = style.look(str(method), frame["compress"])
        places = smaller[members.index], given_up[members.index]
        style.points(axes, *places, look, yerr=spread[members.index])
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("times smaller than the teacher (bytes of model.onnx, log)")
    axes.set_ylabel("accuracy given up (percentage points)")
    only_distill = set(pairs["compress"]) == {"distill"}
    names = [
        f"{line['name']}{'' if only_distill else ' ' + line['label']} \u2190 {line['teacher']}"
        for _, line in pairs.iterrows()
    ]
    points = list(zip(smaller, given_up, strict=True))
    place(axes, [Label(name, x, y) for name, (x, y) in zip(names, points, strict=True)], points)
    return figure
