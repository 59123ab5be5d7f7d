"""Linear layers and convolutions as products of two thinner ones, by singular value decomposition."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from kdbench.compress.fine_tuned import Recalibrated
from kdbench.compress.layers import WEIGHTED, tied
from kdbench.compress.low_rank.factors import factors, has_factors, pair, weights_of_rank_one
from kdbench.compress.step import Examples, Task
from kdbench.compress.trial_run import fault
from kdbench.errors import BadSetting
from kdbench.settings import checks
from kdbench.training import features


@dataclass(frozen=True, kw_only=True)
class Factorize(Recalibrated):
    """Put two layers in the place of each linear layer and convolution but the last, then fine-tune.

    Linear layers as Xue et al. 2013 (Restructuring of Deep Neural Network Acoustic Models with Singular Value
    Decomposition, section 3), k x k convolutions as k x 1 and 1 x k ones (Jaderberg et al. 2014, scheme 2; see
    `factors`). What has more weights in factors of rank 1 than it may have stays as it is, as do grouped
    convolutions, layers that share weights, and the layer that gives the logits: a lower rank there would tie classes
    to each other.
    """

    keep: float  # share of a layer's weights that its two factors may have together, in (0, 1)
    statistics: int = 0  # as in weights of before it was there, which say what shaped them

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("compress.keep", self.keep, "(0, 1)")

    def check(self, student: nn.Module, teachers: Sequence[nn.Module], data: Examples) -> None:
        """Raise `BadSetting` for a network of which no layer can be factorized, or that does not run without one."""
        self.factorized(student, data, pair)

    def __call__(self, model: nn.Module, task: Task) -> nn.Module:
        """Return the factorized network. Raises `BadSetting` as `check` does."""
        made = self.factorized(model, task.data, factors)
        self.fine_tune(made, task)
        return made

    def factorized(
        self, model: nn.Module, data: Examples, pair_of: Callable[[nn.Module, int], nn.Sequential]
    ) -> nn.Module:
        """Return a copy in which each layer has given place to `pair_of` it and its rank. Raises as `check`."""
        made = copy.deepcopy(model)
        inner = features.model_of(made)
        for name, rank in self.ranks(made, data.shape).items():
            inner.set_submodule(name, pair_of(inner.get_submodule(name), rank))
        reason = fault(made, data.shape, data.classes)
        if reason:
            raise BadSetting(
                "compress=factorize puts two layers in the place of one, and with these the network cannot be run: "
                f"{reason}"
            )
        return made

    def ranks(self, network: nn.Module, image_shape: Sequence[int]) -> dict[str, int]:
        """Return the ranks of the layers that are factorized, by name. Raises `BadSetting` if there is none."""
        found = layers_before_the_last(network, image_shape)
        sizes = {name: (layer.weight.numel(), weights_of_rank_one(layer)) for name, layer in found.items()}
        ranks = {name: int(self.keep * whole / one) for name, (whole, one) in sizes.items()}
        if not any(ranks.values()):
            least = math.ceil(1000 * min((one / whole for whole, one in sizes.values()), default=1)) / 1000
            raise BadSetting(
                f"compress.keep={self.keep:g} leaves no layer factors of rank 1: type {least:g} or more"
                if least < 1
                else "compress=factorize finds no layer before the last whose factors would have fewer weights"
            )
        return {name: rank for name, rank in ranks.items() if rank}

    def architecture(self, model: nn.Module, shapes: Mapping[str, torch.Size]) -> nn.Module:
        """Return a network in which those layers are pairs that the stored weights have as pairs."""
        shaped = copy.deepcopy(model)
        for name, layer in list(shaped.named_modules()):
            first = shapes.get(f"{name}.0.weight")
            if first is not None and has_factors(layer):
                shaped.set_submodule(name, pair(layer, first[0]))
        return shaped


def layers_before_the_last(network: nn.Module, image_shape: Sequence[int]) -> dict[str, nn.Module]:
    """Return the layers that can be factorized by name, in the order in which they run, but for the last of all."""
    modules, shared = dict(features.model_of(network).named_modules()), tied(network)
    ran = [name for name in features.shapes(network, image_shape) if isinstance(modules[name], WEIGHTED)]
    return {name: modules[name] for name in ran[:-1] if has_factors(modules[name]) and modules[name] not in shared}
