"""What more images to learn from are worth: accuracy over the size of the transfer set, a curve for each kind."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from kdbench.plots import curves
from kdbench.results.summary import VERSIONS

METHODS = ("distill",)
LEAST = 2  # sizes
COUNT = r"'images':\d+,?"
TRAIN_AND = r"transfer=\[train,data:([^\]]*)\]"
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
    rest = rest.str.replace(r"[{}'\"]", "", regex=True)
    recipe = means["recipe"].str.replace(EPOCHS, "", regex=True)
    columns = ["model", "architecture", "weights", "origin", "device", "precision", "seeds_together"]
    network = means[columns].map(str).agg(" ".join, axis=1) + " " + recipe
    lines = means.assign(x=means["transfer_images"].where(named), rest=rest, network=network)
    taught = begun(lines.dropna(subset="x"))
    short = taught["rest"].str.replace(TRAIN_AND, r"train+\1", regex=True)
    return taught.assign(rest=short.str.replace("transfer=data:", "", regex=False))


def begun(lines: pd.DataFrame) -> pd.DataFrame:
    """Return the lines, and the training set alone as first point of each curve of what is added to it.

    Where it was learnt from for several numbers of epochs, the most count.
    """
    epochs = lines["recipe"].str.extract(r"train\.epochs=(\d+)")[0].astype(float)
    kinds = lines.assign(other=lines["rest"].str.replace(r"transfer=\S+", "", regex=True), epochs=epochs)
    same = ["network", "compress", "teacher", "teacher_settings", "code_hash", *VERSIONS, "other"]
    bare = kinds[kinds["rest"].str.contains(r"transfer=train(?:\s|$)")].drop(columns="rest")
    bare = bare.sort_values("epochs").drop_duplicates(same, keep="last")
    added = kinds.loc[kinds["rest"].str.extract(TRAIN_AND)[0].notna(), [*same, "rest"]]
    return pd.concat([lines, added.drop_duplicates().merge(bare, on=same)], ignore_index=True)
