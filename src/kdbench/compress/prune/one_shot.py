"""What pruning in one go has in common: choose weights, zero them, mend batch norm, fine-tune what is left."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from kdbench.compress.batch_norm import take_statistics
from kdbench.compress.layers import weight_names
from kdbench.compress.step import FINETUNE_SHARE, NetworkStep, Task
from kdbench.settings import checks
from kdbench.training.constraints import KeepZeros


@dataclass(frozen=True, kw_only=True)
class OneShot(NetworkStep):
    """Zero what `masks` says, then fine-tune the rest. Biases and batch norm are never pruned; zeros stay zero later.

    Li et al. 2017 (Pruning Filters for Efficient ConvNets, section 3.3) call it prune once and retrain.
    """

    finetune_epochs: int | None  # None: a quarter of train.epochs, 1 at least; 0: none
    finetune_lr_scale: float  # share of train.lr at the peak of the fine-tuning
    statistics: int  # training images of which batch norm takes its statistics anew; 0: it keeps the old ones

    leaves_constraint: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.finetune_epochs is not None:
            checks.whole("compress.finetune_epochs", self.finetune_epochs, 0)
        checks.real("compress.finetune_lr_scale", self.finetune_lr_scale, "(0, inf)")
        checks.whole("compress.statistics", self.statistics, 0)

    @abstractmethod
    def masks(self, network: nn.Module, task: Task) -> Mapping[str, Tensor]:
        """Return masks of 0 and 1 for the weights of linear and convolutional layers, by name."""

    def __call__(self, model: nn.Module, task: Task) -> nn.Module:
        """Return the pruned network."""
        pruned = copy.deepcopy(model)
        zeros = KeepZeros(self.masks(pruned, task))
        zeros.apply(pruned, 0, 0)
        if self.statistics:
            take_statistics(pruned, task.data.to_calibrate(self.statistics), task.run)
        if self.finetune_epochs != 0:
            scale = self.finetune_lr_scale
            task.fit(pruned, epochs=self.finetune_epochs, share=FINETUNE_SHARE, lr_scale=scale, constraint=zeros)
        return pruned

    def constraint(self, network: nn.Module) -> KeepZeros:
        """Return that what is zero stays zero."""
        return KeepZeros.of(network, weight_names(network))
