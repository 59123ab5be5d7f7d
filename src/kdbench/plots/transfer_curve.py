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
    """Return the lines with a transfer set of their own, beside the same network without a teacher.

    Networks may differ in their epochs: who has more images to learn from sees each less often. Of those without a
    teacher the one that was trained longest is shown.
    """
    named = means["settings"].str.contains("transfer=")
    rest = means["settings"].str.replace(COUNT, "", regex=True).str.replace(",}", "}", regex=False)
    rest = rest.str.replace(r"[{}'\"]", "", regex=True)
    recipe = means["recipe"].str.replace(EPOCHS, "", regex=True)
    columns = ["model", "architecture", "weights", "origin", "device", "precision", "seeds_together"]
    network = means[columns].astype(str).agg(" ".join, axis=1) + " " + recipe
    lines = means.assign(x=means["transfer_images"].where(named), rest=rest, network=network)
    epochs = means["recipe"].str.extract(r"train\.epochs=(\d+)")[0].astype(float)
    alone = lines[lines["compress"] == "baseline"].assign(epochs=epochs).sort_values("epochs")
    longest = alone.drop_duplicates(["network", *VERSIONS], keep="last")
    own = {"accuracy": "baseline_accuracy", "name": "baseline_name"}
    longest = longest[["network", *VERSIONS, *own]].rename(columns=own)
    taught = begun(lines.dropna(subset="x")).drop(columns=[*own.values()])
    short = taught["rest"].str.replace(TRAIN_AND, r"train+\1", regex=True)
    short = short.str.replace("transfer=data:", "", regex=False)
    return taught.assign(rest=short).merge(longest, on=["network", *VERSIONS], how="left")


def begun(lines: pd.DataFrame) -> pd.DataFrame:
    """Return the lines, and the training set alone as first point of each curve of what is added to it."""
    kinds = lines.assign(other=lines["rest"].str.replace(r"transfer=\S+", "", regex=True))
    same = ["network", "compress", "teacher", "teacher_settings", "code_hash", *VERSIONS, "other"]
    bare = kinds[kinds["rest"].str.contains(r"transfer=train(?:\s|$)")].drop(columns="rest")
    added = kinds.loc[kinds["rest"].str.extract(TRAIN_AND)[0].notna(), [*same, "rest"]]
    return pd.concat([lines, added.drop_duplicates().merge(bare, on=same)], ignore_index=True)
