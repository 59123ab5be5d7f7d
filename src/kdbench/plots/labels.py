"""Direct labels that do not overlap each other or the points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from kdbench.plots.style import INK

DISTANCES = (9, 14, 20, 28, 38, 50, 64, 80)  # points between a label and what it names
DIRECTIONS = 16
LEADER = 12  # points from which on a line joins label and point
MARKER = 5  # half the side of a marker, in points, with a little air


@dataclass(frozen=True)
class Label:
    """A text and the data point it names."""

    text: str
    x: float
    y: float
    bold: bool = False


def place(
    axes: Axes, labels: Sequence[Label], points: Sequence[tuple[float, float]], texts: Sequence[Text] = ()
) -> list[Bbox]:
    """Write each label near its point, clear of other labels, all `points`, `texts` and the edges of the axes.

    Lines are avoided by giving points along them. Greedy: for each label the nearest free place on circles
    around its point, joined by a thin line if it is not right beside it. Returns the boxes in pixels. The
    limits of the axes must be final.
    """
    figure = axes.figure
    canvas = FigureCanvasAgg(figure)
    figure.draw_without_rendering()  # places everything, as drawing does, in a third of the time
    unit = figure.dpi / 72
    inside = axes.get_window_extent()
    spots = np.atleast_2d(axes.transData.transform(list(points))) if points else np.empty((0, 2))
    obstacles = np.hstack([spots - MARKER * unit, spots + MARKER * unit])
    angles = np.arange(DIRECTIONS) * 2 * math.pi / DIRECTIONS
    directions = np.tile(np.column_stack([np.cos(angles), np.sin(angles)]), (len(DISTANCES), 1))
    distances = np.repeat(DISTANCES, DIRECTIONS)
    taken = np.array([text.get_window_extent().extents for text in texts]).reshape(-1, 4)
    for label in labels:
        text = axes.annotate(
            label.text,
            (label.x, label.y),
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=8,
            color=INK,
            fontweight="bold" if label.bold else "normal",
            ha="center",
            va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8},
            zorder=4,
        )
        extent = text.get_window_extent(canvas.get_renderer())
        half = np.array([extent.width + 4 * unit, extent.height + 2 * unit]) / 2
        anchor = axes.transData.transform((label.x, label.y))
        # The distance is that of the box's edge, not of its centre.
        centres = anchor + directions * (distances[:, None] * unit + half)
        boxes = np.hstack([centres - half, centres + half])
        outside = (boxes[:, :2] < inside.min).any(1) | (boxes[:, 2:] > inside.max).any(1)
        cost = 1000 * overlaps(boxes, taken) + 100 * overlaps(boxes, obstacles) + 1000 * outside + distances
        best = cost.argmin()
        box = boxes[best]
        text.set_position((centres[best] - anchor) / unit)
        near = np.clip(anchor, box[:2], box[2:])
        if math.dist(near, anchor) > LEADER * unit:
            line = axes.transData.inverted().transform([anchor, near])
            axes.plot(line[:, 0], line[:, 1], color="#999999", linewidth=0.7, zorder=1)
        taken = np.vstack([taken, box])
    return [Bbox.from_extents(*box) for box in taken[len(texts) :]]


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Count, for each of `boxes` (n, 4), the `others` (m, 4) that it touches; rows are x0, y0, x1, y1."""
    apart = (boxes[:, None, :2] > others[None, :, 2:]) | (boxes[:, None, 2:] < others[None, :, :2])
    return (~apart.any(2)).sum(1)
