"""Networks taught by their equals: accuracy over generations, of which 0 learnt from the labels alone."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from kdbench.plots import curves
from kdbench.results.summary import VERSIONS

METHODS = ("baseline", "born_again")
LEAST = 3  # generations, 0 among them


def draw(runs: pd.DataFrame) -> Figure | None:
    """Return the chart, or None if no network has at least two generations after its own training."""
    title = "Born-again networks: each generation is taught by the one before"
    return curves.chart(runs, prepared, title, "generation", LEAST, log=False)


def prepared(means: pd.DataFrame) -> pd.DataFrame:
    """Return the generations, each curve with the network's own baseline as its first."""
    x, rest = curves.knob(means["settings"], "generations"), curves.without_knob(means["settings"], "generations")
    later = means.assign(x=x, rest=rest).dropna(subset="x").assign(teacher="", teacher_settings="")
    # The code of the generations, and not that of the baseline, is theirs.
    curve = ["network_hash", "compress", "rest", "code_hash", *VERSIONS, "teacher", "teacher_settings"]
    bare = means[means["compress"] == "baseline"]
    bare = bare.drop(columns=["compress", "code_hash", "teacher", "teacher_settings"])
    first = later[curve].drop_duplicates().merge(bare.assign(x=0), on=["network_hash", *VERSIONS])
    return pd.concat([first, later], ignore_index=True).assign(baseline_accuracy=float("nan"))
