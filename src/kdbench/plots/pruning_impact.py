"""What pruning does to accuracy and bytes: each network before and after, as a file, gzipped and packed."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from kdbench.plots import before_after
from kdbench.plots.amounts import BYTES

METHODS = ("baseline", "prune")


def draw(runs: pd.DataFrame) -> Figure | None:
    """Return the chart, or None if no pruned run has its baseline beside it."""
    return before_after.chart(
        runs,
        ["prune"],
        "What magnitude pruning costs, and what it buys",
        ("dense", "pruned"),
        BYTES,
    )
