"""Means and spreads over seeds. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import pandas as pd

from kdbench.results.row import NUMBERS, Row

KEYS = ["dataset", "model", "compress", "teacher", "settings", "variant_hash", "network_hash", "teacher_hash"]
METHODS = ["baseline", "quantize", "prune", "distill"]  # the order in which tables and charts show them


def frame(rows: Sequence[Row]) -> pd.DataFrame:
    """Return the rows as a data frame, one column a field; nothing is averaged."""
    table = pd.DataFrame([asdict(row) for row in rows])
    # A column without any value, such as the agreement of baselines, would otherwise not be one of numbers.
    return table.astype(dict.fromkeys(NUMBERS, float))


def summarise(rows: Sequence[Row]) -> pd.DataFrame:
    """Return one line a variant: its numbers averaged over seeds, and how many `seeds` there are.

    `accuracy_std` is the sample standard deviation over seeds (NaN for a single one). Variants are sorted by
    family, by the size of the baseline, and by method. `name` tells apart networks that share the name of a
    model, `label` variants that share model and method.
    """
    table = frame(rows).drop_duplicates(["config_hash"], keep="last")
    # `settings` and `teacher` may be empty, and groupby would drop such rows.
    table[["teacher", "teacher_hash"]] = table[["teacher", "teacher_hash"]].fillna("")
    grouped = table.groupby(KEYS, sort=False)
    means = grouped[[name for name in NUMBERS if name != "seed"]].mean()
    means["seeds"] = grouped["seed"].nunique()
    means["accuracy_std"] = grouped["accuracy"].std()
    means["agreement_std"] = grouped["agreement"].std()
    means = means.reset_index()
    means["family"] = means["model"].str.partition("_")[0]
    means["order"] = means["compress"].map({name: rank for rank, name in enumerate(METHODS)}).fillna(len(METHODS))
    means = means.sort_values(
        ["family", "baseline_size_bytes", "model", "order", "compress", "teacher", "settings"],
        ignore_index=True,
    )
    means["label"] = _labels(means)
    # One name for several networks (other widths, another recipe): the hash tells them apart.
    several = means.groupby("model")["network_hash"].transform("nunique") > 1
    means["name"] = means["model"].where(~several, means["model"] + " #" + means["network_hash"].str[:4])
    return means


def _labels(means: pd.DataFrame) -> list[str]:
    """Name the method of each line, with teacher or settings where the method alone is ambiguous."""
    labels = list(means["compress"])
    for _, twins in means.groupby(["model", "compress"]):
        if len(twins) < 2:
            continue
        words = [f"{teacher} {settings}".split() for teacher, settings in twins[["teacher", "settings"]].values]
        shared = set.intersection(*map(set, words)) if words else set()
        for index, own in zip(twins.index, words, strict=True):
            differing = [word for word in own if word not in shared]
            labels[index] += f" ({' '.join(differing)})" if differing else f" ({means.at[index, 'variant_hash']})"
    return labels
