"""Each student trained alone, against the same student trained with a teacher."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from kdbench.plots import before_after

METHODS = ("baseline", "distill")


def draw(runs: pd.DataFrame) -> Figure | None:
    """Return the chart, or None if no distilled run has its baseline beside it."""
    return before_after.chart(
        runs, ["distill"], "What a teacher adds: the same student alone and distilled", ("alone", "distilled"), []
    )
