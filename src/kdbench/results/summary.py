"""Means and spreads over seeds; what of several machines may be compared. Imports no torch."""

from __future__ import annotations

import re
import weakref
from collections.abc import Mapping, Sequence

import pandas as pd

from kdbench.results import names
from kdbench.results.row import NAMES, NUMBERS, Row

# Rows that differ in one of these are neither averaged nor compared as before and after.
VERSIONS = ["kdbench_version", "torch_version", "onnxruntime_version", "onnx_version", "onnxscript_version"]
VARIANT = [
    *("dataset", "model", "compress", "teacher", "settings", "variant_hash", "network_hash", "code_hash"),
    *VERSIONS,
]
NETWORK = ["network_hash", *VERSIONS]  # what variants of one network have in common
# What a processor decides: never averaged over machines, nor compared between them.
TIMINGS = [
    *("latency_ms", "latency_min_ms", "latency_p90_ms", "throughput", "cpu_share"),
    *("speedup", "speedup_low", "speedup_high"),
    *("throughput_ratio", "throughput_ratio_low", "throughput_ratio_high"),
    *("train_seconds", "train_cpu_seconds", "teacher_train_seconds", "teacher_train_cpu_seconds"),
]
SPREADS = [
    *("accuracy", "accuracy_before", "gained", "given_up", "agreement", "file_val_accuracy"),
    *("nonzero_parameters", "macs", "size_bytes", "packed_bytes", "latency_ms", "throughput_ratio"),
]
NUMBER = re.compile(r"\d+(\.\d+)?(e[+-]?\d+)?")
METHODS = ["baseline", "quantize", "prune", "distill"]  # the order in which tables and charts show them


def frame(rows: Sequence[Row], called: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Return the rows as a data frame, one column a field and one line a run; nothing is averaged.

    Empty numbers are NaN, empty texts "". `machine` names what the times are those of; `called` is what the
    experiment calls the run, by its `config_hash`, or "". Of rows of one run on one machine the latest counts.
    """
    own = called or {}
    table = pd.DataFrame(
        [vars(row) | {"machine": machine(row), "called": own.get(row.config_hash, "")} for row in rows]
    )
    # A column without any value, such as the agreement of baselines, would otherwise not be one of numbers.
    table = table.astype(dict.fromkeys(NUMBERS, float))
    # A baseline has no teacher, and groupby would drop such rows.
    table = table.fillna(dict.fromkeys(set(NAMES) - set(NUMBERS), ""))
    latest_last = table.sort_values("date", kind="stable")
    return latest_last.drop_duplicates(["config_hash", "code_hash", *VERSIONS, "machine"], keep="last")


def machine(row: Row) -> str:
    """Return the processor and the threads of a row in words."""
    numbers = {"family": row.cpu_family, "model": row.cpu_model}
    details = [f"{name} {number}" for name, number in numbers.items() if number is not None]
    details += [row.cpu_capability] * bool(row.cpu_capability)
    processor = f"{row.cpu} ({', '.join(details)})" if details else row.cpu
    return f"{processor}, {row.threads} thread{'s' * (row.threads != 1)}"


def machines(runs: pd.DataFrame) -> list[str]:
    """Return the machines of `runs`, those with most of them first."""
    counts = runs["machine"].value_counts()
    return sorted(counts.index, key=lambda name: (-counts[name], name))


def pool(runs: pd.DataFrame, timed_on: str | None = None) -> pd.DataFrame:
    """Return one line for each variant and seed: what several machines found of it is averaged.

    `TIMINGS` are those of the machine `timed_on` (None: the first of `machines`), and NaN where it has none.
    """
    chosen = timed_on or machines(runs)[0]
    elsewhere = runs["machine"] != chosen
    own = runs.assign(
        **{name: runs[name].mask(elsewhere) for name in runs if name.removesuffix("_before") in TIMINGS},
        machine=chosen,
    )
    numbers = set(own.select_dtypes("number").columns)
    keys = [*VARIANT, "seed"]
    how = {name: "mean" if name in numbers else "first" for name in own if name not in keys}
    return own.groupby(keys, sort=False).agg(how).copy().reset_index()  # in one piece: else pandas warns


def beside_baselines(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the compressed ones of `runs`, pooled, each with the numbers of its baseline as `*_before`.

    The baseline is of the same network, data, versions and seed; runs without one are left out. So means over what
    is returned compare the same seeds, and `gained`, accuracy less accuracy before, is a paired difference. Times
    before and after are of one machine, that with most such pairs.
    """
    compressed = runs[runs["compress"] != "baseline"]
    if compressed.empty:
        return compressed
    same = ["network_hash", *VERSIONS, "seed"]
    both = compressed.merge(runs.loc[runs["compress"] == "baseline", [*same, "machine"]])
    seeds = pool(runs, timed_on=machines(compressed if both.empty else both)[0])
    baselines = seeds[seeds["compress"] == "baseline"].groupby(same)[[name for name in NUMBERS if name != "seed"]]
    pairs = seeds[seeds["compress"] != "baseline"].merge(
        baselines.mean().add_suffix("_before"), left_on=same, right_index=True
    )
    return pairs.assign(gained=pairs["accuracy"] - pairs["accuracy_before"])


def beside_alone(seeds: pd.DataFrame) -> pd.DataFrame:
    """Return the lines of `pool` with the accuracy of the same network, under the same seed, without any compression.

    As `baseline_accuracy`, beside `taught_above`, by how much the teacher's is above that; NaN where it is not known.
    """
    same = [*NETWORK, "seed"]
    alone = seeds[seeds["compress"] == "baseline"].groupby(same)["accuracy"].mean()
    beside = seeds.merge(alone.rename("baseline_accuracy").reset_index(), on=same, how="left")
    return beside.assign(taught_above=beside["teacher_accuracy"] - beside["baseline_accuracy"])


def taught_by_no_better(means: pd.DataFrame) -> pd.Series:
    """Mark the lines whose teacher is no better than their own network is without it, under the same seeds."""
    return means["taught_above"] <= 0


def disturbed(means: pd.DataFrame) -> pd.Series:
    """Mark the lines without times although they were timed there: others had the processor too."""
    return means["latency_ms"].isna() & means["train_seconds"].notna()


def by_numbers(column: pd.Series) -> pd.Series:
    """Return what a column of texts is to be sorted by, so that `train.epochs=2` comes before `train.epochs=10`."""
    if column.dtype.kind in "biuf" or column.name == "network_hash":
        return column
    return column.map(lambda text: NUMBER.sub(lambda found: f"{float(found[0]):030.12f}", text))


def summarise(runs: pd.DataFrame, timed_on: str | None = None) -> pd.DataFrame:
    """Return one line a variant: the numbers of `pool` averaged over seeds, and how many `seeds` there are.

    `baseline_accuracy` is that of the same network uncompressed, where it is there.
    Every column of numbers is averaged, but for ranges, which span those of all seeds. Of `SPREADS` those that are
    there also give `*_std`, the sample standard deviation over seeds (NaN for a single one). Variants are sorted by
    family, by the size of the baseline, and by method. `name` distinguishes networks that share the name of a model,
    `label` variants that share model and method, and says which networks were not trained here; `suffix` is what
    distinguishes it from others of the method.

    A dozen charts ask it of one frame, so the latest answer is kept: nothing may change `runs` in place.
    """
    global _latest
    if _latest is None or _latest[0]() is not runs or _latest[1] != timed_on:
        _latest = weakref.ref(runs), timed_on, averaged(runs, timed_on)
    return _latest[2].copy()


_latest: tuple[weakref.ref[pd.DataFrame], str | None, pd.DataFrame] | None = None


def averaged(runs: pd.DataFrame, timed_on: str | None) -> pd.DataFrame:
    """Return what `summarise` does, made anew."""
    seeds = beside_alone(pool(runs, timed_on))
    grouped = seeds.groupby(VARIANT, sort=False)
    numbers = set(seeds.select_dtypes("number").columns)
    how = {name: "mean" if name in numbers else "first" for name in seeds if name not in (*VARIANT, "seed")}
    for name in how:
        ends = {"low": "min", "high": "max"}
        how[name] = ends.get(name.rpartition("_")[2], how[name])
    means = grouped.agg(how).copy()  # in one piece: what is added a column at a time would make pandas warn
    means["seeds"] = grouped["seed"].nunique()
    for name in SPREADS:
        if name in seeds:
            means[f"{name}_std"] = grouped[name].std()
    means = means.reset_index()
    means["family"] = means["model"].str.partition("_")[0]
    means["order"] = means["compress"].map({name: rank for rank, name in enumerate(METHODS)}).fillna(len(METHODS))
    networks = ["family", "baseline_size_bytes", "model", "architecture", "recipe", "network_hash"]
    columns = [*networks, "order", "compress", "teacher", "settings"]
    means = means.sort_values(columns, key=by_numbers, ignore_index=True)
    means["name"] = means["model"] + names.of_networks(means)
    means["suffix"] = names.of_variants(means)
    means["label"] = means["compress"] + names.origins(means) + means["suffix"]
    return means
