"""What quantization does to accuracy, bytes and time: each network before and after."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from kdbench.plots import before_after

NEEDS = "kdbench sweep compress=baseline,quantize"


def draw(runs: pd.DataFrame) -> Figure | None:
    """Return the chart, or None if no quantized run has its baseline beside it."""
    return before_after.chart(
        runs,
        "quantize",
        "What int8 quantization costs, and what it buys",
        ("float32", "int8"),
        [("size_bytes", "bytes of model.onnx (log)"), ("latency_ms", "ms for one image, one thread (log)")],
    )
