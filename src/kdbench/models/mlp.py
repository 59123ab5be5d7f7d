"""Fully connected networks."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from kdbench.settings import checks


class MLP(nn.Sequential):
    """Linear-ReLU layers of the given widths, then ten logits.

    Maps normalised images (batch, 1, 28, 28) to logits (batch, 10).
    Raises `BadSetting` if `widths` is not a list of positive whole numbers.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        checks.widths("model.widths", widths)
        layers: list[nn.Module] = [nn.Flatten()]
        inputs = 28 * 28
        for width in widths:
            layers += [nn.Linear(inputs, width), nn.ReLU()]
            inputs = width
        super().__init__(*layers, nn.Linear(inputs, 10))
