"""What pruning does to accuracy and bytes: each network before and after, as a file and as a gzipped file."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from kdbench.plots import before_after
from kdbench.plots.before_after import Amount

METHODS = ("baseline", "prune")


def draw(runs: pd.DataFrame) -> Figure | None:
    """Return the chart, or None if no pruned run has its baseline beside it."""
    return before_after.chart(
        runs,
        "prune",
        "What magnitude pruning costs, and what it buys",
        ("dense", "pruned"),
        [
            Amount("size_bytes", "bytes of model.onnx (log)"),
            Amount("size_gzip_bytes", "bytes of model.onnx, gzipped (log)"),
        ],
    )
