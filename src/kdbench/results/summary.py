"""Means and spreads over seeds. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import pandas as pd

from kdbench.results.row import NUMBERS, Row

# Rows that differ in one of these are neither averaged nor compared as before and after.
ENVIRONMENT = ["cpu", "kdbench_version", "torch_version", "onnxruntime_version"]
KEYS = ["dataset", "model", "compress", "teacher", "settings", "variant_hash", "network_hash", *ENVIRONMENT]
SPREADS = ["accuracy", "accuracy_before", "gained", "given_up", "agreement"]
METHODS = ["baseline", "quantize", "prune", "distill"]  # the order in which tables and charts show them


def frame(rows: Sequence[Row]) -> pd.DataFrame:
    """Return the rows as a data frame, one column a field and one line a run; nothing is averaged."""
    table = pd.DataFrame([asdict(row) for row in rows])
    # A column without any value, such as the agreement of baselines, would otherwise not be one of numbers.
    table = table.astype(dict.fromkeys(NUMBERS, float))
    # A baseline has no teacher, and groupby would drop such rows.
    table["teacher"] = table["teacher"].fillna("")
    return table.drop_duplicates(["config_hash", *ENVIRONMENT], keep="last")


def beside_baselines(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the compressed ones of `runs`, each with the numbers of its baseline as `*_before`.

    The baseline is of the same network, data, machine, versions and seed; runs without one are left out. So
    means over what is returned compare the same seeds, and `gained`, accuracy less accuracy before, is a paired
    difference.
    """
    baselines = runs.loc[runs["compress"] == "baseline", ["network_hash", *ENVIRONMENT, *NUMBERS]]
    pairs = runs[runs["compress"] != "baseline"].merge(
        baselines.rename(columns={name: f"{name}_before" for name in NUMBERS}),
        left_on=["network_hash", *ENVIRONMENT, "seed"],
        right_on=["network_hash", *ENVIRONMENT, "seed_before"],
    )
    return pairs.assign(gained=pairs["accuracy"] - pairs["accuracy_before"])


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """Return one line a variant: the numbers of `runs` averaged over seeds, and how many `seeds` there are.

    Every column of numbers is averaged, and of `SPREADS` those that are there also give `*_std`, the sample
    standard deviation over seeds (NaN for a single one). Variants are sorted by family, by the size of the
    baseline, and by method. `name` tells apart networks that share the name of a model, `label` variants that
    share model and method.
    """
    grouped = runs.groupby(KEYS, sort=False)
    numbers = [name for name in runs.select_dtypes("number").columns if name != "seed"]
    means = grouped[numbers].mean()
    means["seeds"] = grouped["seed"].nunique()
    for name in SPREADS:
        if name in runs:
            means[f"{name}_std"] = grouped[name].std()
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
    for _, twins in means.groupby(["network_hash", "compress"]):
        if len(twins) < 2:
            continue
        words = [
            [*f"{line.teacher} {line.settings}".split(), *(line[name] for name in ENVIRONMENT)]
            for _, line in twins.iterrows()
        ]
        shared = set.intersection(*map(set, words)) if words else set()
        for index, own in zip(twins.index, words, strict=True):
            differing = [word for word in own if word not in shared]
            labels[index] += f" ({' '.join(differing)})" if differing else f" ({means.at[index, 'variant_hash']})"
    return labels
