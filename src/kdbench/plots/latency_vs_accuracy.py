"""Accuracy against the time for one image."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from kdbench.plots import front

METHODS: tuple[str, ...] = ()  # any two variants


def draw(runs: pd.DataFrame) -> Figure | None:
    """Return the chart, or None if fewer than two variants were timed on one machine."""
    return front.chart(runs, "Accuracy against the time for one image", [front.LATENCY])
