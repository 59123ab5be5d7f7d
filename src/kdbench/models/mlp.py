"""Fully connected networks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from kdbench.settings import checks


class MLP(nn.Sequential):
    """Linear-ReLU layers of the given widths, then the logits.

    Maps normalised images (batch, *shape) to logits (batch, classes). While it trains, `input_dropout` of the pixels
    and `dropout` of the values of each hidden layer are hidden (Srivastava et al. 2014).
    Raises `BadSetting` if `widths` is not a list of positive whole numbers, or shares do not lie in [0, 1).
    """

    def __init__(
        self,
        widths: Sequence[int],
        shape: Sequence[int],
        classes: int,
        input_dropout: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        checks.widths("model.widths", widths)
        checks.real("model.input_dropout", input_dropout, "[0, 1)")
        checks.real("model.dropout", dropout, "[0, 1)")
        layers: list[nn.Module] = [nn.Flatten(), *([nn.Dropout(input_dropout)] if input_dropout else [])]
        inputs = math.prod(shape)
        for width in widths:
            layers += [nn.Linear(inputs, width), nn.ReLU(), *([nn.Dropout(dropout)] if dropout else [])]
            inputs = width
        super().__init__(*layers, nn.Linear(inputs, classes))
