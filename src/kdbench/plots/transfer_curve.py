"""What more images to learn from are worth: accuracy over the size of the transfer set, a curve for each kind."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from kdbench.plots import curves

METHODS = ("distill",)
LEAST = 2  # sizes
COUNT = r"'images':\d+,?"
EPOCHS = r"train\.epochs=\d+ ?"


def draw(runs: pd.DataFrame) -> Figure | None:
    """Return the chart, or None if nothing was learnt from transfer sets of one kind and several sizes."""
    title, axis = "Accuracy over the size of the transfer set", "images in the transfer set (log)"
    return curves.chart(runs, prepared, title, axis, LEAST, log=True)


def prepared(means: pd.DataFrame) -> pd.DataFrame:
    """Return the lines with a transfer set of their own.

    Networks may differ in their epochs: who has more images to learn from sees each less often.
    """
    named = means["settings"].str.contains("transfer=")
    rest = means["settings"].str.replace(COUNT, "", regex=True).str.replace(",}", "}", regex=False)
    rest = rest.str.replace(r"[{}'\"]", "", regex=True).str.replace("transfer=data:", "", regex=False)
    recipe = means["recipe"].str.replace(EPOCHS, "", regex=True)
    columns = ["model", "architecture", "weights", "origin", "device", "precision", "seeds_together"]
    network = means[columns].astype(str).agg(" ".join, axis=1) + " " + recipe
    return means.assign(x=means["transfer_images"].where(named), rest=rest, network=network).dropna(subset="x")
