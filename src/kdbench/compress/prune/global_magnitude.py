"""Unstructured magnitude pruning (Han et al. 2015)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from kdbench.compress.layers import weight_names
from kdbench.compress.step import NetworkStep, Task
from kdbench.settings import checks
from kdbench.training.constraints import KeepZeros


@dataclass(frozen=True)
class GlobalMagnitude(NetworkStep):
    """Zero the smallest weights of the whole network, then fine-tune what is left.

    Han et al. 2015 (Learning both Weights and Connections, section 3), with one threshold for all layers. Only
    weights of linear and convolutional layers are pruned, never biases or batch norm. Later steps keep the zeros.
    """

    sparsity: float  # share of the prunable weights set to zero, in [0, 1); exact to one weight
    finetune_epochs: int  # 0 is one-shot pruning
    finetune_lr_scale: float  # share of train.lr at the peak of the fine-tuning

    leaves_constraint: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.real("compress.sparsity", self.sparsity, "[0, 1)")
        checks.whole("compress.finetune_epochs", self.finetune_epochs, 0)
        checks.real("compress.finetune_lr_scale", self.finetune_lr_scale, "(0, inf)")

    def __call__(self, model: nn.Module, task: Task) -> nn.Module:
        """Return the pruned network."""
        pruned = copy.deepcopy(model)
        weights = {name: pruned.get_parameter(name) for name in weight_names(pruned)}
        zeros = KeepZeros(magnitude_masks(weights, self.sparsity))
        zeros.apply(pruned, 0, 0)
        if self.finetune_epochs:
            task.fit(pruned, epochs=self.finetune_epochs, lr_scale=self.finetune_lr_scale, constraint=zeros)
        return pruned

    def constraint(self, network: nn.Module) -> KeepZeros:
        """Return that what is zero stays zero."""
        return KeepZeros.of(network, weight_names(network))


def magnitude_masks(weights: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    """Return 0/1 masks shaped like `weights` with exactly round(sparsity * total) zeros, at the smallest.

    Among equals the earlier is pruned first, so that ties cannot change the count.
    """
    magnitudes = torch.cat([weight.detach().abs().flatten() for weight in weights.values()])
    mask = torch.ones_like(magnitudes)
    mask[magnitudes.argsort(stable=True)[: round(sparsity * len(magnitudes))]] = 0
    parts = mask.split([weight.numel() for weight in weights.values()])
    return {name: part.view_as(weight) for part, (name, weight) in zip(parts, weights.items(), strict=True)}
