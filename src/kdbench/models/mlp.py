"""Fully connected networks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from kdbench.settings import checks


class MLP(nn.Sequential):
    """Linear-ReLU layers of the given widths, then the logits.

    Maps normalised images (batch, *shape) to logits (batch, classes).
    Raises `BadSetting` if `widths` is not a list of positive whole numbers.
    """

    def __init__(self, widths: Sequence[int], shape: Sequence[int], classes: int) -> None:
        checks.widths("model.widths", widths)
        layers: list[nn.Module] = [nn.Flatten()]
        inputs = math.prod(shape)
        for width in widths:
            layers += [nn.Linear(inputs, width), nn.ReLU()]
            inputs = width
        super().__init__(*layers, nn.Linear(inputs, classes))
