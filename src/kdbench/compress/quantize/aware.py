"""Trained on with weights and activations rounded as the file that ships has them (Jacob et al. 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from kdbench.compress.quantize.fake_quantize import Activations
from kdbench.compress.quantize.trained_weights import TrainedWeights
from kdbench.compress.step import Task
from kdbench.models.network import Network
from kdbench.settings import checks

BATCH = 250


@dataclass(frozen=True, kw_only=True)
class QuantizeAware(TrainedWeights):
    """Put activations (8 bits) on grids as well, so that layers compute in whole numbers.

    Jacob et al. 2018 (Quantization and Training of Neural Networks, section 3), but batch norm is folded beforehand.
    The grids of activations are those of `images` training images, or `learned` from there (Esser et al. 2020).
    `bits`: 7 in the place of 8 for processors without VNNI, see `DynamicInt8`.
    """

    images: int  # training images that the grids of activations are found on

    offered: ClassVar[Sequence[int]] = (8, 7, 6, 5, 4, 3, 2)
    activations: ClassVar[bool] = True
    name: ClassVar[str] = "quantize_aware"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole("compress.images", self.images, 1)

    def start(self, model: nn.Module, task: Task) -> Network:
        """Return the network on grids, those of activations found."""
        network = super().start(model, task)
        settle(network, task.data.to_calibrate(self.images))
        return network


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
