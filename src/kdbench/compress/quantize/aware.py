"""Trained on with weights and activations rounded as the file that ships has them (Jacob et al. 2018)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from kdbench.compress.quantize.fake_quantize import Activations
from kdbench.compress.quantize.traced import quantized
from kdbench.compress.step import FINETUNE_SHARE, Examples, NetworkStep, Task
from kdbench.errors import BadSetting
from kdbench.models.network import Network
from kdbench.settings import checks

BITS = (8, 7, 6, 5, 4, 3, 2)
BATCH = 250


@dataclass(frozen=True)
class QuantizeAware(NetworkStep):
    """Fold batch norm, put weights (`bits`) and activations (8 bits) on grids, and train what is left.

    Jacob et al. 2018 (Quantization and Training of Neural Networks, section 3), but batch norm is folded beforehand.
    The grids of activations are those of `images` training images, or `learned` from there (Esser et al. 2020).
    """

    bits: int  # of a weight; 7 in the place of 8 for processors without VNNI, see `DynamicInt8`
    images: int  # training images that the grids of activations are found on
    learned: bool  # whether scales are trained, too
    finetune_epochs: int | None  # None: a quarter of train.epochs, 1 at least; 0: none
    finetune_lr_scale: float  # share of train.lr

    changes_shapes: ClassVar[bool] = True
    keeps_zeros: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.bits not in BITS:
            raise BadSetting(f"compress.bits={self.bits} is not offered: choose from {', '.join(map(str, BITS))}")
        checks.whole("compress.images", self.images, 1)
        checks.within("compress.learned", self.learned, bool, "")
        if self.finetune_epochs is not None:
            checks.whole("compress.finetune_epochs", self.finetune_epochs, 0)
        checks.real("compress.finetune_lr_scale", self.finetune_lr_scale, "(0, inf)")

    def check(self, student: nn.Module, teachers: Sequence[nn.Module], data: Examples) -> None:
        """Raise `BadSetting` for a network whose operations cannot be followed."""
        self.on_grids(student)

    def __call__(self, model: nn.Module, task: Task) -> nn.Module:
        """Return the network on grids. Raises `BadSetting` as `check` does."""
        network = self.on_grids(model)
        settle(network, task.data.to_calibrate(self.images))
        if self.finetune_epochs != 0:
            scale = self.finetune_lr_scale
            task.fit(network, epochs=self.finetune_epochs, share=FINETUNE_SHARE, lr_scale=scale)
        return network

    def on_grids(self, model: nn.Module) -> Network:
        """Return a copy of the network that computes on grids."""
        network = copy.deepcopy(model).cpu().eval()
        assert isinstance(network, Network)
        network[1] = quantized(network.model, self.bits, self.learned, "quantize_aware")
        return network

    def architecture(self, model: nn.Module, shapes: Mapping[str, torch.Size]) -> nn.Module:
        """Return a network on grids, which stored weights are loaded into."""
        return self.on_grids(model)


@torch.no_grad()
def settle(network: nn.Module, images: torch.Tensor) -> None:
    """Fix the grids of activations, in place, by what `images` (n, channels, height, width) give, in float32."""
    grids = [module for module in network.modules() if isinstance(module, Activations)]
    for grid in grids:
        grid.watches = True
    for batch in images.split(BATCH):
        network(batch)
    for grid in grids:
        grid.settle()
