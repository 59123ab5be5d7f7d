"""What quantization does to accuracy, bytes and time: each network before and after."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from kdbench.plots import before_after
from kdbench.plots.amounts import BYTES, Amount, Ratio

METHODS = ("baseline", "quantize")
TO_INT8 = ("quantize", "quantize_static")  # in this order a network's lines stand below each other
RATIOS = [
    Ratio("speedup", "times as fast, one image at a time\n(log; bars: range of the passes)"),
    Ratio("throughput_ratio", "times as many images/s, batches of 256\n(log; bars: range of the passes)"),
]
# Of rows of version 0.1.0, which have no ratios: their times were not taken in turn.
LATENCY = Amount("latency_ms", "ms for one image, one thread (log)")


def draw(runs: pd.DataFrame) -> Figure | None:
    """Return the chart, or None if no run in int8 has its baseline beside it."""
    timed_in_turn = runs.loc[runs["compress"].isin(TO_INT8), "speedup"].notna().any()
    return before_after.chart(
        runs,
        TO_INT8,
        "What int8 quantization costs, and what it buys",
        ("float32", "int8"),
        [*BYTES, *(RATIOS if timed_in_turn else [LATENCY])],
    )
