"""Unstructured magnitude pruning (Han et al. 2015)."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdbench.compress.step import NetworkStep, Task
from kdbench.settings import checks


@dataclass(frozen=True)
class GlobalMagnitude(NetworkStep):
    """Zero the smallest weights of the whole network, then fine-tune what is left.

    Han et al. 2015 (Learning both Weights and Connections, section 3), with one threshold for all layers.
    Only weights of linear and convolutional layers are pruned, never biases or batch norm.
    """

    sparsity: float  # share of the prunable weights set to zero, in [0, 1); exact to one weight
    finetune_epochs: int  # 0 is one-shot pruning
    finetune_lr_scale: float  # share of train.lr at the peak of the fine-tuning

    def __post_init__(self) -> None:
        checks.real("compress.sparsity", self.sparsity, "[0, 1)")
        checks.whole("compress.finetune_epochs", self.finetune_epochs, 0)
        checks.real("compress.finetune_lr_scale", self.finetune_lr_scale, "(0, inf)")

    def __call__(self, model: nn.Module, task: Task) -> nn.Module:
        """Return the pruned network."""
        pruned = copy.deepcopy(model)
        weights = prunable(pruned)
        masks = magnitude_masks(weights, self.sparsity)
        hold_zeros(weights, masks)
        if self.finetune_epochs:
            held: list[Tensor] = []

            def hold() -> None:
                # The masks follow the weights to the training device, once they are there.
                if not held:
                    held.extend(mask.to(weight.device) for weight, mask in zip(weights, masks, strict=True))
                hold_zeros(weights, held)

            task.fit(pruned, epochs=self.finetune_epochs, lr_scale=self.finetune_lr_scale, after_step=hold)
        return pruned


def prunable(network: nn.Module) -> list[nn.Parameter]:
    """Return the weights of every linear and convolutional layer."""
    layers = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
    return [module.weight for module in network.modules() if isinstance(module, layers)]


def magnitude_masks(weights: list[nn.Parameter], sparsity: float) -> list[Tensor]:
    """Return 0/1 masks shaped like `weights` with exactly round(sparsity * total) zeros, at the smallest.

    Among equals the earlier is pruned first, so that ties cannot change the count.
    """
    magnitudes = torch.cat([weight.detach().abs().flatten() for weight in weights])
    mask = torch.ones_like(magnitudes)
    mask[magnitudes.argsort(stable=True)[: round(sparsity * len(magnitudes))]] = 0
    parts = mask.split([weight.numel() for weight in weights])
    return [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]


@torch.no_grad()
def hold_zeros(weights: list[nn.Parameter], masks: list[Tensor]) -> None:
    """Set masked weights to zero, in place."""
    for weight, mask in zip(weights, masks, strict=True):
        weight.mul_(mask)
