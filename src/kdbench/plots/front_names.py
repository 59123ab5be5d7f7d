"""What stands on a front, by name: beside the points while they are few, in a list of numbers from then on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from kdbench.plots import accuracy_axis
from kdbench.plots.labels import Label

MOST_NAMED = 8
MOST_LISTED = 32  # what the height of a panel has room for


def labels(means: pd.DataFrame, best: pd.DataFrame, column: str, numbered: bool) -> list[Label]:
    """Return what to write beside points: names on the front and of other baselines, or numbers on the front alone.

    `means` are all variants, `best` those on the front, `column` is what they cost.
    """
    heights = accuracy_axis.scaled(means["accuracy"])
    texts = [str(number) for number in range(1, len(best) + 1)] if numbered else names(best)
    made = [
        Label(text, best[column][index], heights[index], bold=True)
        for text, index in zip(texts, best.index, strict=True)
    ]
    if numbered:
        return made
    others = means[(means["compress"] == "baseline") & ~means["network_hash"].isin(networks_named(best))]
    return [*made, *(Label(line["name"], line[column], heights[index]) for index, line in others.iterrows())]


def networks_named(best: pd.DataFrame) -> set[str]:
    """Return the networks whose baseline is on the front."""
    return set(best.loc[best["compress"] == "baseline", "network_hash"])


def names(best: pd.DataFrame) -> list[str]:
    """Return what to call each variant."""
    return [f"{name} {label}" for name, label in zip(best["name"], best["label"], strict=True)]


def listed(best: pd.DataFrame) -> str:
    """Return the names of a front after their numbers, a line each; "" if they have room beside the points."""
    if len(best) <= MOST_NAMED:
        return ""
    lines = [f"{number}  {name}" for number, name in enumerate(names(best), 1)]
    rest = len(lines) - MOST_LISTED
    return "\n".join(lines if rest <= 0 else [*lines[:MOST_LISTED], f"and {rest} more"])


def along(corners: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return points along the steps of the front, dense enough that no label falls between them."""
    points: list[tuple[float, float]] = []
    for (left, low), (right, high) in pairwise(corners):
        points += [(x, low) for x in np.geomspace(left, right, 40)]
        points += [(right, y) for y in np.linspace(low, high, 20)]
    return points
