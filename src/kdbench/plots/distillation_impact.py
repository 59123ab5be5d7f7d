"""Each student trained alone, against the same student trained with a teacher."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from kdbench.plots import before_after

NEEDS = "kdbench sweep compress=baseline,distill"


def draw(frame: pd.DataFrame) -> Figure | None:
    """Return the chart of a summary, or None if no student has its baseline beside it."""
    return before_after.chart(
        frame, "distill", "What a teacher adds: the same student alone and distilled", ("alone", "distilled"), []
    )
