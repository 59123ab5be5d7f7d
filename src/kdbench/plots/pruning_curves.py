"""How far each network can be pruned: accuracy over sparsity, a line a method."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from kdbench.plots import curves, panels
from kdbench.plots.panels import LeftAxis

METHODS = ("baseline", "prune")
SPARSITIES = (
    *((0, 50, 90, 99), (0, 50, 80, 90, 95, 99), (0, 50, 70, 80, 90, 95, 98, 99)),
    (0, 50, 70, 80, 90, 95, 98, 99, 99.5, 99.8, 99.9),
)
# By the share that is left, so that 98% and 99% are as far apart as 50% and 75%.
SHARE = LeftAxis(
    "sparsity, % of the weights (log of the rest)",
    1,
    [[1 - percent / 100 for percent in percents] for percents in SPARSITIES],
    lambda left: f"{100 * (1 - left):.4g}",
    inverted=True,
)
LEAST_LEFT = 0.0005  # a network without weights has to stand somewhere


def draw(runs: pd.DataFrame) -> Figure | None:
    """Return the chart, or None if no network was pruned to two sparsities."""
    return panels.chart(runs, prepared, "Accuracy over sparsity", SHARE)


def prepared(means: pd.DataFrame) -> pd.DataFrame:
    """Return the lines that have a sparsity, each at the share of the weights that is left."""
    left = (1 - curves.knob(means["settings"], "sparsity")).clip(lower=LEAST_LEFT)
    return means.assign(x=left, rest=curves.without_knob(means["settings"], "sparsity"))
