"""How small each network can be made: accuracy over the share of its multiply-adds, a line a method."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from kdbench.plots import curves, panels
from kdbench.plots.panels import LeftAxis
from kdbench.results.summary import NETWORK

METHODS = ("baseline", "prune_structured")
KNOBS = ("macs", "keep")  # of methods whose networks are smaller ones, such as prune_structured and shrink
SHARES = ((1, 10, 100), (1, 3, 10, 30, 100), (1, 2, 5, 10, 25, 50, 100), (1, 2, 3, 5, 10, 15, 25, 35, 50, 75, 100))
SHARE = LeftAxis(
    "multiply-adds that are left, % (log)",
    1,
    [[percent / 100 for percent in percents] for percents in SHARES],
    lambda left: f"{100 * left:.4g}",
)


def draw(runs: pd.DataFrame) -> Figure | None:
    """Return the chart, or None if no network has its baseline beside it and two sizes that it was made to."""
    return panels.chart(runs, prepared, "Accuracy over multiply-adds", SHARE)


def prepared(means: pd.DataFrame) -> pd.DataFrame:
    """Return the lines of networks made smaller, each at its share of the multiply-adds of the uncompressed one.

    That share is counted, not the one asked for; so what keeps a share of the parameters has its place too.
    """
    bare = means[means["compress"] == "baseline"].groupby(NETWORK)["macs"].mean().rename("whole")
    lines = means.merge(bare.reset_index(), on=NETWORK, how="left")
    smaller = pd.concat([curves.knob(lines["settings"], name).notna() for name in KNOBS], axis=1).any(axis=1)
    rest = lines["settings"]
    for name in KNOBS:
        rest = curves.without_knob(rest, name)
    return lines.assign(x=(lines["macs"] / lines["whole"]).where(smaller), rest=rest)
