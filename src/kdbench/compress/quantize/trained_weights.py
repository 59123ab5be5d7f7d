"""Trained on with weights rounded to whole numbers times scales, under layers that compute in float32."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from kdbench.compress.fine_tuned import FineTuned
from kdbench.compress.quantize.traced import quantized
from kdbench.compress.quantize.weight_only import TYPES
from kdbench.compress.step import Examples, Task
from kdbench.errors import BadSetting
from kdbench.models.network import Network
from kdbench.settings import checks


@dataclass(frozen=True, kw_only=True)
class TrainedWeights(FineTuned):
    """Fold batch norm, put weights on grids of `bits`, and train what is left; the file holds whole numbers.

    They are rounded at every step, and gradients go through as if they were not (the straight-through estimator,
    Bengio et al. 2013, Estimating or Propagating Gradients, section 4). Each output has one scale, in float16, so
    that the file is that of `WeightOnly`, which trains nothing.
    """

    bits: int | Sequence[int]  # of a weight; three numbers: of the first layer, of those between, of the last
    learned: bool  # whether scales are trained, too

    keeps_zeros: ClassVar[bool] = True
    rounds_weights: ClassVar[bool] = True
    offered: ClassVar[Sequence[int]] = tuple(TYPES)
    activations: ClassVar[bool] = False  # whether they lie on grids, too
    name: ClassVar[str] = "quantize_weights_trained"  # of its YAML

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.bits, Sequence):
            checks.whole("compress.bits", self.bits, 2, 8)
        wrong = [one for one in self.bits_of_layers if one not in self.offered]
        if wrong or len(self.bits_of_layers) != 3:
            raise BadSetting(
                f"compress.bits={self.bits} is not offered: choose from {', '.join(map(str, self.offered))}, or type "
                "three of them, [8,4,8]: of the first layer, of those between, of the last"
            )
        checks.within("compress.learned", self.learned, bool, "")

    @property
    def bits_of_layers(self) -> Sequence[int]:
        """Bits of the first layer, of those between, and of the last."""
        return [self.bits] * 3 if isinstance(self.bits, int) else [*self.bits]

    def check(self, student: nn.Module, teachers: Sequence[nn.Module], data: Examples) -> None:
        """Raise `BadSetting` for a network whose operations cannot be followed."""
        self.on_grids(student)

    def __call__(self, model: nn.Module, task: Task) -> nn.Module:
        """Return the network on grids. Raises `BadSetting` as `check` does."""
        network = self.start(model, task)
        self.fine_tune(network, task)
        return network

    def start(self, model: nn.Module, task: Task) -> Network:
        """Return the network on grids as its training begins."""
        return self.on_grids(model)

    def on_grids(self, model: nn.Module) -> Network:
        """Return a copy of the network that computes on grids."""
        network = copy.deepcopy(model).cpu().eval()
        assert isinstance(network, Network)
        network[1] = quantized(network.model, self.bits_of_layers, self.learned, self.activations, self.name)
        return network

    def architecture(self, model: nn.Module, shapes: Mapping[str, torch.Size]) -> nn.Module:
        """Return a network on grids, which stored weights are loaded into."""
        return self.on_grids(model)
