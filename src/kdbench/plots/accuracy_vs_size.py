"""Accuracy against the bytes of the file that ships."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from kdbench.plots import front

METHODS: tuple[str, ...] = ()  # any two variants


def draw(runs: pd.DataFrame) -> Figure | None:
    """Return the chart, or None if there are fewer than two variants."""
    return front.chart(runs, "Accuracy against size of the file that ships", [front.DENSE])
