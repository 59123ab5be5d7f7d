"""From a model's configuration to the network that ships: normalisation in front, then the model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kdbench.settings.targets import instantiate


class Normalise(nn.Module):
    """Pixels in [0, 1] to zero mean and unit variance over the training set; part of the network, so it ships."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: float, deviation: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("deviation", torch.tensor(deviation))

    def forward(self, images: Tensor) -> Tensor:
        """Map (batch, 1, 28, 28) to the same shape."""
        return (images - self.mean) / self.deviation


def build(model: dict[str, Any], seed: int, pixel_statistics: tuple[float, float]) -> nn.Sequential:
    """Return the network (images in [0, 1] to logits) with the initial weights that `seed` decides."""
    torch.manual_seed(seed)
    return nn.Sequential(Normalise(*pixel_statistics), instantiate(model, "model"))


def parameters(network: nn.Module) -> int:
    """Count trainable parameters: weights, biases and the scale and shift of batch norm."""
    return sum(parameter.numel() for parameter in network.parameters())
