"""What to call networks and variants that share a name: by the settings in which they differ. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

# Each is tried where those before it leave two alike.
OF_NETWORKS = [("architecture", "recipe", "weights")]
OF_VARIANTS = [("teacher", "settings"), ("teacher_settings",)]
OTHERS = [
    (name,)
    for name in (
        *(
            "robust_eps",
            "precision",
            "device",
            "seeds_together",
            "kdbench_version",
            "torch_version",
            "onnxruntime_version",
        ),
        *("onnx_version", "onnxscript_version", "code_hash"),
    )
]
SEVERAL_WORDS = {"architecture", "recipe", "settings", "teacher", "teacher_settings"}


def of_networks(means: pd.DataFrame) -> pd.Series:
    """Return what distinguishes the networks (`network_hash`) of one `model`, such as " (train.lr=0.01)", or ""."""
    networks = means.drop_duplicates("network_hash")
    found: dict[str, str] = {}
    for _, lines in networks.groupby("model"):
        # Rows of version 0.1.0 lack the settings, and next to them all settings of the others would differ.
        complete = (lines["recipe"] != "").all()
        columns = [*OF_NETWORKS, *OTHERS] if complete else [*OTHERS, *OF_NETWORKS]
        found |= zip(lines["network_hash"], differing(lines, [*columns, ("network_hash",)]), strict=True)
    return means["network_hash"].map(found)


def of_variants(means: pd.DataFrame) -> pd.Series:
    """Return what distinguishes the variants of one network and method, such as " (sparsity=0.9)", or ""."""
    found = pd.Series("", index=means.index)
    for _, lines in means.groupby(["network_hash", "compress"]):
        found[lines.index] = differing(lines, [*OF_VARIANTS, *OTHERS, ("variant_hash",)])
    return found


def origins(means: pd.DataFrame) -> pd.Series:
    """Return " (given)" or " (fine-tuned)" for the baseline of a network trained elsewhere; without it, for all."""
    bare = means["compress"] == "baseline"
    marked = means["network_hash"].isin(means.loc[bare, "network_hash"])
    elsewhere = ~means["origin"].isin(["", "trained"])
    return (" (" + means["origin"] + ")").where(elsewhere & (bare | ~marked), "")


def students(means: pd.DataFrame, methods: bool) -> list[str]:
    """Return what to call each line: the network, its method (if `methods`), what differs, and its teacher if any."""
    made = []
    for line in means.to_dict("records"):
        words = [word for word in line["suffix"][2:-1].split() if word != line["teacher"]]
        made.append(
            line["name"]
            + (f" {line['compress']}" if methods else "")
            + (f" ({' '.join(words)})" if words else "")
            + (f" \u2190 {line['teacher']}" if line["teacher"] else "")
        )
    return made


def differing(lines: pd.DataFrame, columns: Sequence[tuple[str, ...]]) -> list[str]:
    """Return for each line, in parentheses, the words that not all of `lines` share; "" for a single one.

    Of `columns` only the first that differ are used, and further ones for lines that are still alike.
    """
    found: list[tuple[str, ...]] = [()] * len(lines)
    for group in columns:
        if len(set(found)) == len(found):
            break
        values = zip(*(lines[name] for name in group), strict=True)
        words = [
            [word for name, value in zip(group, line, strict=True) for word in _words(name, value)] for line in values
        ]
        for alike in [[i for i, other in enumerate(found) if other == own] for own in dict.fromkeys(found)]:
            shared = set.intersection(*(set(words[i]) for i in alike))
            for i in alike:
                found[i] += tuple(word for word in words[i] if word not in shared)
    return [f" ({' '.join(words)})" if words else "" for words in found]


def _words(name: str, value: str | float) -> list[str]:
    if value == "" or pd.isna(value):
        return []
    if name in SEVERAL_WORDS:
        return str(value).split()
    return [f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"]
