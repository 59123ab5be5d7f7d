"""How few bits a weight needs: accuracy over bits, a line a method."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from kdbench.plots import curves, panels
from kdbench.plots.panels import LeftAxis

METHODS = ("baseline", "quantize")
FIXED = {"half": 16, "quantize": 8}  # where no setting says otherwise
BITS = LeftAxis(
    "bits of a weight (log)",
    32,
    [(2, 8, 32), (2, 4, 8, 16, 32), (2, 3, 4, 8, 16, 32), (1, 2, 3, 4, 5, 6, 7, 8, 16, 32)],
    lambda bits: f"{bits:g}",
)


def draw(runs: pd.DataFrame) -> Figure | None:
    """Return the chart, or None if no network was stored in two numbers of bits."""
    return panels.chart(runs, prepared, "Accuracy over bits of a weight", BITS)


def prepared(means: pd.DataFrame) -> pd.DataFrame:
    """Return the lines of quantized networks, each at the bits of a weight (of shared values: of their index)."""
    settings = means["settings"]
    bits = curves.knob(settings, "bits").fillna(curves.knob(settings, "weight_bits"))
    bits = bits.fillna(np.log2(curves.knob(settings, "clusters"))).fillna(means["compress"].map(FIXED))
    rest = settings
    for name in ("bits", "weight_bits", "clusters"):
        rest = curves.without_knob(rest, name)
    return means.assign(x=bits, rest=rest)
