"""What each byte and each millisecond buys: accuracy against the packed file, and against the time for one image."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from kdbench.plots import front

METHODS: tuple[str, ...] = ()  # any two variants


def draw(runs: pd.DataFrame) -> Figure | None:
    """Return the chart, or None without packed files: times alone have a chart of their own."""
    if runs["packed_bytes"].isna().all():
        return None
    return front.chart(runs, "What bytes and milliseconds buy, over all methods", [front.PACKED, front.LATENCY])
