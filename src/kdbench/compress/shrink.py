"""The control of all compression: the same architecture, made thinner, and trained on the labels alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from kdbench.compress.resized import resized
from kdbench.compress.step import NetworkStep, Task
from kdbench.errors import BadSetting
from kdbench.models.network import parameters
from kdbench.settings import checks

TRIES = 20  # of how wide it is: a bisection
BYTES = 4  # of a parameter in float32
KEEP = 0.25  # as much as int8 leaves of the bytes


@dataclass(frozen=True)
class Shrink(NetworkStep):
    """Train a thinner network from its own initial weights, as the baseline of the whole one is trained.

    Its widths are those of the model times one number. What compresses a large network has to beat this: who gets
    the same accuracy in the same bytes by training a smaller one needs no method (Liu et al. 2019, Rethinking the
    Value of Network Pruning, section 4).
    """

    keep: float | None  # share of the parameters, in (0, 1]; None: `bytes`, or a quarter where that is None too
    bytes: int | None = None  # in the place of `keep`: how many its parameters may take in float32

    from_scratch: ClassVar[bool] = True
    rewinds: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.keep is not None:
            checks.real("compress.keep", self.keep, "(0, 1]")
        if self.bytes is not None:
            checks.whole("compress.bytes", self.bytes, 1)
        if self.keep is not None and self.bytes is not None:
            raise BadSetting(
                f"compress.keep={self.keep:g} and compress.bytes={self.bytes} both say how much is left: type one"
            )

    def __call__(self, model: nn.Module, task: Task) -> nn.Module:
        """Return the smaller network. Raises `BadSetting` if the thinnest is too large, or the whole one smaller."""
        whole, least = parameters(model), parameters(task.scaled(0.0))
        most = self.most(whole)
        if most > whole:
            raise BadSetting(
                f"compress.bytes={self.bytes} is more than the whole network takes: type {BYTES * whole} or less"
            )
        if most < least:
            typed, enough = f"keep={most / whole:g}", math.ceil(1e4 * least / whole) / 1e4
            if self.bytes is not None:
                typed, enough = f"bytes={self.bytes}", BYTES * least
            raise BadSetting(f"compress.{typed} leaves less than a width of 1: type {enough} or more")
        thin = task.scaled(1.0) if most == whole else widest(most, task)
        task.fit(thin)
        return thin

    def most(self, whole: int) -> float:
        """Return how many parameters there may be, where the whole network has so many."""
        if self.bytes is not None:
            return self.bytes / BYTES
        return whole * (KEEP if self.keep is None else self.keep)

    def architecture(self, model: nn.Module, shapes: Mapping[str, torch.Size]) -> nn.Module:
        """Return a network of layers as large as the stored ones."""
        return resized(model, shapes)


def widest(most: float, task: Task) -> nn.Module:
    """Return the widest network of at most so many parameters, not trained."""
    low, high = 0.0, 1.0
    for _ in range(TRIES):
        middle = (low + high) / 2
        low, high = (middle, high) if parameters(task.scaled(middle)) <= most else (low, middle)
    return task.scaled(low)
