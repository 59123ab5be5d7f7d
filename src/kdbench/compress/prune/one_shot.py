"""What pruning in one go has in common: choose weights, zero them, mend batch norm, fine-tune what is left."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from kdbench.compress.fine_tuned import Recalibrated
from kdbench.compress.prune.unstructured import Unstructured
from kdbench.compress.step import Task
from kdbench.settings import checks
from kdbench.training.constraints import KeepZeros


@dataclass(frozen=True, kw_only=True)
class OneShot(Unstructured, Recalibrated):
    """Zero what `masks` says, then fine-tune the rest. Biases and batch norm are never pruned; zeros stay zero later.

    Li et al. 2017 (Pruning Filters for Efficient ConvNets, section 3.3) call it prune once and retrain.
    """

    @abstractmethod
    def masks(self, network: nn.Module, task: Task) -> Mapping[str, Tensor]:
        """Return masks of 0 and 1 for the weights of linear and convolutional layers, by name."""

    def __call__(self, model: nn.Module, task: Task) -> nn.Module:
        """Return the pruned network."""
        pruned = copy.deepcopy(model)
        zeros = KeepZeros(self.masks(pruned, task))
        zeros.apply(pruned, 0, 0)
        self.fine_tune(pruned, task, zeros)
        return pruned


@dataclass(frozen=True, kw_only=True)
class Sparse(OneShot):
    """Zero a share of the weights.

    Those that an earlier step has set to zero count, and are the first of them; where it set more, all stay.
    """

    sparsity: float  # share of the prunable weights that are zero, in [0, 1); exact to one weight

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("compress.sparsity", self.sparsity, "[0, 1)")
