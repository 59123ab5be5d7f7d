"""Pruning while the network is trained on, a little more at a time (Zhu and Gupta 2017)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdbench.compress.layers import weight_names
from kdbench.compress.prune import masks
from kdbench.compress.prune.unstructured import Unstructured
from kdbench.compress.step import Task
from kdbench.settings import checks
from kdbench.training.constraints import Constraint, KeepZeros

EVERY = 0.01  # share of the steps of a training after which more is pruned


@dataclass(frozen=True)
class Gradual(Unstructured):
    """Train on, and raise the sparsity from 0 to `sparsity` by a cubic schedule; then train what is left.

    Zhu and Gupta 2017 (To Prune, or Not to Prune, section 3, equation 1), with one threshold for all layers.
    Weights that an earlier step has set to zero count, and are the first; where it set more, all stay.
    """

    sparsity: float  # share of the prunable weights that are zero in the end, in [0, 1); exact to one weight
    epochs: int | None  # None: as many as train.epochs; at least 1
    ramp: float  # share of them in which the sparsity rises, in (0, 1]
    lr_scale: float  # share of train.lr

    def __post_init__(self) -> None:
        checks.real("compress.sparsity", self.sparsity, "[0, 1)")
        if self.epochs is not None:
            checks.whole("compress.epochs", self.epochs, 1)
        checks.real("compress.ramp", self.ramp, "(0, 1]")
        checks.real("compress.lr_scale", self.lr_scale, "(0, inf)")

    def __call__(self, model: nn.Module, task: Task) -> nn.Module:
        """Return the pruned network."""
        pruned = copy.deepcopy(model)
        task.fit(pruned, epochs=self.epochs, lr_scale=self.lr_scale, constraint=self.rising(pruned))
        return pruned

    def rising(self, network: nn.Module) -> RisingSparsity:
        """Return the constraint under which it is trained."""
        return RisingSparsity(weight_names(network), self.sparsity, self.ramp)


class RisingSparsity(Constraint):
    """The smallest of the weights `names` are zero, more of them from step to step; what was zero once stays so."""

    def __init__(self, names: list[str], final: float, ramp: float) -> None:
        self.names = names
        self.final = final
        self.ramp = ramp
        self.zeros = KeepZeros({})

    @torch.no_grad()
    def apply(self, network: nn.Module, step: int, total: int) -> None:
        """Zero what was zero, and at every hundredth of the training and at the end of the ramp, some more."""
        self.zeros.apply(network, step, total)
        last = max(1, round(self.ramp * total))
        if is_due(step, total, last):
            weights = {name: network.get_parameter(name) for name in self.names}
            scores = masks.zeros_first(self.scores(weights), weights)
            self.zeros = KeepZeros(masks.over_the_network(scores, cubic(step / last, self.final)))
            self.zeros.apply(network, step, total)

    def scores(self, weights: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
        """Return how much each weight counts, at least 0."""
        return {name: weight.detach().abs() for name, weight in weights.items()}

    def state(self) -> dict[str, Tensor]:
        """Return the masks."""
        return self.zeros.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take the masks back."""
        self.zeros.restore(state)


def is_due(step: int, total: int, last: int) -> bool:
    """Whether more is pruned after this step: a hundred times in a training, and when the ramp ends, at `last`."""
    every = max(1, round(EVERY * total))
    return step == last or (step < last and step % every == 0)


def cubic(done: float, final: float) -> float:
    """Return `final (1 - (1 - done)³)`, the sparsity after a share `done` of the ramp (equation 1, from 0)."""
    return final * (1 - (1 - done) ** 3)
