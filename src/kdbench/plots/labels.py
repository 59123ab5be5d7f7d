"""Direct labels that do not overlap each other or the points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
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


def place(axes: Axes, labels: Sequence[Label], points: Sequence[tuple[float, float]]) -> list[Bbox]:
    """Write each label near its point, clear of other labels, of all `points` and of the edges of the axes.

    Lines are avoided by giving points along them. Greedy: for each label the nearest free place on circles
    around its point, joined by a thin line if it is not right beside it. Returns the boxes in pixels. The
    limits of the axes must be final.
    """
    figure = axes.figure
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    unit = figure.dpi / 72
    inside = axes.get_window_extent()
    obstacles = []
    for x, y in axes.transData.transform(list(points)) if points else []:
        obstacles.append(Bbox.from_bounds(x - MARKER * unit, y - MARKER * unit, 2 * MARKER * unit, 2 * MARKER * unit))
    taken: list[Bbox] = []
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
        width, height = extent.width + 4 * unit, extent.height + 2 * unit
        anchor = axes.transData.transform((label.x, label.y))
        best: tuple[float, float, float, Bbox] | None = None
        for distance in DISTANCES:
            for turn in range(DIRECTIONS):
                angle = 2 * math.pi * turn / DIRECTIONS
                dx, dy = math.cos(angle), math.sin(angle)
                # The distance is that of the box's edge, not of its centre.
                offset_x = dx * (distance * unit + width / 2)
                offset_y = dy * (distance * unit + height / 2)
                box = Bbox.from_bounds(
                    anchor[0] + offset_x - width / 2, anchor[1] + offset_y - height / 2, width, height
                )
                cost = 1000 * sum(box.overlaps(other) for other in taken)
                cost += 100 * sum(box.overlaps(other) for other in obstacles)
                cost += 1000 * (not (inside.x0 <= box.x0 and box.x1 <= inside.x1))
                cost += 1000 * (not (inside.y0 <= box.y0 and box.y1 <= inside.y1))
                cost += distance
                if best is None or cost < best[0]:
                    best = (cost, offset_x / unit, offset_y / unit, box)
        assert best is not None
        text.set_position(best[1:3])
        box = best[3]
        near_x = min(max(anchor[0], box.x0), box.x1)
        near_y = min(max(anchor[1], box.y0), box.y1)
        if math.hypot(near_x - anchor[0], near_y - anchor[1]) > LEADER * unit:
            line = axes.transData.inverted().transform([anchor, (near_x, near_y)])
            axes.plot(line[:, 0], line[:, 1], color="#999999", linewidth=0.7, zorder=1)
        taken.append(best[3])
    return taken
