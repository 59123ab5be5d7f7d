"""The control of all compression: the same architecture, made thinner, and trained on the labels alone."""

from __future__ import annotations

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


@dataclass(frozen=True)
class Shrink(NetworkStep):
    """Train a thinner network from its own initial weights, as the baseline of the whole one is trained.

    Its widths are those of the model times one number. What compresses a large network has to beat this: who gets
    the same accuracy in the same bytes by training a smaller one needs no method (Liu et al. 2019, Rethinking the
    Value of Network Pruning, section 4).
    """

    keep: float  # share of the parameters, and so of their bytes, in (0, 1]: at most so many, and as near as can be

    from_scratch: ClassVar[bool] = True
    changes_shapes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.real("compress.keep", self.keep, "(0, 1]")

    def __call__(self, model: nn.Module, task: Task) -> nn.Module:
        """Return the smaller network. Raises `BadSetting` if the thinnest has more parameters than that."""
        thin = self.thinner(parameters(model), task)
        task.fit(thin)
        return thin

    def thinner(self, whole: int, task: Task) -> nn.Module:
        """Return the widest network of at most `keep` of so many parameters, not trained."""
        least = parameters(task.scaled(0.0))
        if least > self.keep * whole:
            raise BadSetting(
                f"compress.keep={self.keep:g} leaves less than a width of 1: type {least / whole:.2g} or more"
            )
        low, high = 0.0, 1.0
        for _ in range(TRIES):
            middle = (low + high) / 2
            low, high = (middle, high) if parameters(task.scaled(middle)) <= self.keep * whole else (low, middle)
        return task.scaled(1.0 if self.keep == 1 else low)

    def architecture(self, model: nn.Module, shapes: Mapping[str, torch.Size]) -> nn.Module:
        """Return a network of layers as large as the stored ones."""
        return resized(model, shapes)
