"""Linear layers as products of two thinner ones, by singular value decomposition."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from kdbench.compress.step import FINETUNE_SHARE, Examples, NetworkStep, Task
from kdbench.errors import BadSetting
from kdbench.settings import checks
from kdbench.training import features


@dataclass(frozen=True)
class Factorize(NetworkStep):
    """Put two layers in the place of each linear layer but the last, then fine-tune.

    `W ≈ (U_r sqrt(S_r)) (sqrt(S_r) V_r')`, the best approximation of rank r (Eckart and Young 1936), in networks
    after Xue et al. 2013 (Restructuring of Deep Neural Network Acoustic Models with Singular Value Decomposition,
    section 3). The layer that gives the logits stays as it is: a lower rank there would tie classes to each other.
    """

    keep: (
        float  # share of a layer's weights that its two factors may have together, in (0, 1); the rank is 1 at least
    )
    finetune_epochs: int | None  # None: a quarter of train.epochs, 1 at least; 0: none
    finetune_lr_scale: float

    changes_shapes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.real("compress.keep", self.keep, "(0, 1)")
        if self.finetune_epochs is not None:
            checks.whole("compress.finetune_epochs", self.finetune_epochs, 0)
        checks.real("compress.finetune_lr_scale", self.finetune_lr_scale, "(0, inf)")

    def check(self, student: nn.Module, teachers: Sequence[nn.Module], data: Examples) -> None:
        """Raise `BadSetting` for a network without a linear layer but the last."""
        layers_before_the_last(student, data.shape)

    def __call__(self, model: nn.Module, task: Task) -> nn.Module:
        """Return the factorized network. Raises `BadSetting` if it has no linear layer but the last."""
        factorized = copy.deepcopy(model)
        inner = features.model_of(factorized)
        for name, layer in layers_before_the_last(factorized, task.data.shape).items():
            rank = max(1, int(self.keep * layer.weight.numel() / (layer.out_features + layer.in_features)))
            replace_layer(inner, name, factors(layer, rank))
        if self.finetune_epochs != 0:
            scale = self.finetune_lr_scale
            task.fit(factorized, epochs=self.finetune_epochs, share=FINETUNE_SHARE, lr_scale=scale)
        return factorized

    def architecture(self, model: nn.Module, shapes: Mapping[str, torch.Size]) -> nn.Module:
        """Return a network in which those layers are pairs that the stored weights have as pairs."""
        shaped = copy.deepcopy(model)
        for name, layer in linear_layers(shaped):
            first = shapes.get(f"{name}.0.weight")
            if first is not None:
                replace_layer(shaped, name, pair(layer, first[0]))
        return shaped


def layers_before_the_last(network: nn.Module, image_shape: Sequence[int]) -> dict[str, nn.Linear]:
    """Return the linear layers by name, in the order in which they run, but for the last. Raises `BadSetting`."""
    linear = dict(linear_layers(features.model_of(network)))
    ran = [name for name in features.shapes(network, image_shape) if name in linear]
    if len(ran) < 2:
        raise BadSetting("compress=factorize finds no linear layer but the last: it is for mlp models")
    return {name: linear[name] for name in ran[:-1]}


def linear_layers(network: nn.Module) -> list[tuple[str, nn.Linear]]:
    """Return the linear layers by name."""
    return [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)]


def pair(layer: nn.Linear, rank: int) -> nn.Sequential:
    """Return two linear layers through `rank` values, of whatever weights, that fit in the place of `layer`."""
    outer = nn.Linear(rank, layer.out_features, bias=layer.bias is not None)
    return nn.Sequential(nn.Linear(layer.in_features, rank, bias=False), outer)


@torch.no_grad()
def factors(layer: nn.Linear, rank: int) -> nn.Sequential:
    """Return the pair whose product is the best approximation of `layer` of that rank, under its bias."""
    left, values, right = torch.linalg.svd(layer.weight.double(), full_matrices=False)
    root = values[:rank].sqrt()
    made = pair(layer, rank)
    made[0].weight.copy_(root[:, None] * right[:rank])
    made[1].weight.copy_(left[:, :rank] * root)
    if layer.bias is not None:
        made[1].bias.copy_(layer.bias)
    return made


def replace_layer(network: nn.Module, name: str, layer: nn.Module) -> None:
    """Put `layer` in the place of the submodule `name`."""
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, layer)
