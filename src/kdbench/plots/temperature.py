"""How soft a teacher's answers should be: accuracy over the temperature."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from kdbench.plots import curves

METHODS = ("distill",)
LEAST = 3  # temperatures


def draw(runs: pd.DataFrame) -> Figure | None:
    """Return the chart, or None if nothing was distilled under at least three temperatures."""
    title = "Accuracy over the temperature of the soft targets"
    return curves.chart(runs, prepared, title, "temperature (log)", LEAST, log=True)


def prepared(means: pd.DataFrame) -> pd.DataFrame:
    """Return the lines that have a temperature."""
    x, rest = curves.knob(means["settings"], "temperature"), curves.without_knob(means["settings"], "temperature")
    return means.assign(x=x, rest=rest).dropna(subset="x")
