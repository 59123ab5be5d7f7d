"""The result table as CSV, for a spreadsheet or a program: nothing is rounded or left out. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from kdbench.results.collect import by_dataset
from kdbench.results.row import NAMES, NUMBERS, Row
from kdbench.results.summary import VARIANT, frame, machines, pool, summarise, taught_by_no_better

# What a single run or processor has; `machine` names the latter.
OF_A_RUN = {
    *("seed", "teacher_seed", "errors_by_class", "config_hash", "artifact_sha256", "date", "python_version"),
    *("cpu", "cpu_family", "cpu_model", "cpu_capability", "threads"),
}
# What comes out otherwise under another seed, or when it is measured again.
VARYING = [
    *("accuracy", "errors", "nll", "ece", "agreement", "teacher_kl", "teacher_accuracy", "val_accuracy"),
    "file_val_accuracy",
    *("nonzero_parameters", "macs", "size_bytes", "size_gzip_bytes", "packed_bytes", "payload_bytes"),
    *("latency_ms", "latency_min_ms", "latency_p90_ms", "throughput", "speedup", "throughput_ratio"),
    *("train_seconds", "train_cpu_seconds"),
]


def csv_text(rows: Sequence[Row]) -> str:
    """Return one line a variant, and one for each machine that measured it.

    `seeds` is their number; numbers are means over them, beside the standard deviation `*_std` (empty for one).
    `weak_teacher`: whether its teacher is no better than its network is alone; empty where that is not known.
    """
    lines = []
    for members in by_dataset(rows).values():
        runs = frame(members)
        for place in machines(runs):
            means = summarise(runs, place)
            spread = pool(runs, place).groupby(VARIANT)[VARYING].std().add_suffix("_std").reset_index()
            means = means[means.columns.difference([f"{name}_std" for name in VARYING])].merge(spread, on=VARIANT)
            means["weak_teacher"] = taught_by_no_better(means).where(means["taught_above"].notna())
            lines.append(means[means["train_seconds"].notna()])  # which every row has
    table = pd.concat(lines).rename(columns={"label": "method"})
    return table[header()].to_csv(index=False, lineterminator="\n")


def header() -> list[str]:
    """Return the names of the columns: what it is, how many, what was measured, and the rest of the texts."""
    first = ["dataset", "name", "method", "teacher", "seeds", "machine"]
    numbers = [name for name in NAMES if name in NUMBERS and name not in OF_A_RUN]
    beside = [column for name in numbers for column in ([name, f"{name}_std"] if name in VARYING else [name])]
    return [
        *first,
        *beside,
        "baseline_accuracy",
        "weak_teacher",
        *(name for name in NAMES if name not in {*first, *numbers, *OF_A_RUN}),
    ]
