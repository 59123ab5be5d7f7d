"""Plain convolutional networks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from kdbench.errors import BadSetting
from kdbench.settings import checks


class CNN(nn.Sequential):
    """Stages of 3x3 convolution, batch norm and ReLU, each closed by 2x2 max pooling, then the logits.

    `widths` holds the channels of each stage, `convs` how many convolutions a stage has. The head either
    flattens what is left (`flatten`: it sees where things are, which small networks need) or averages it
    over the image (`average`; the last stage is then not max-pooled).
    Maps normalised images (batch, *shape) to logits (batch, classes). Raises `BadSetting` on a bad knob.
    """

    def __init__(
        self, widths: Sequence[int], convs: int, head: str, shape: tuple[int, int, int], classes: int
    ) -> None:
        checks.widths("model.widths", widths)
        checks.whole("model.convs", convs, 1)
        checks.one_of("model.head", head, ["flatten", "average"])
        channels, *sides = shape
        if min(sides) < 2 ** len(widths):
            needed, found = f"{2 ** len(widths)}x{2 ** len(widths)}", "x".join(map(str, sides))
            raise BadSetting(f"model.widths={list(widths)} takes images from {needed} on, and these are {found}")
        layers: list[nn.Module] = []
        for stage, width in enumerate(widths, start=1):
            for _ in range(convs):
                layers += [
                    nn.Conv2d(channels, width, 3, padding=1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                ]
                channels = width
            if head == "flatten" or stage < len(widths):
                # Before the last ReLU, with which it commutes: the same function on a quarter of the values.
                layers.insert(-1, nn.MaxPool2d(2))
                sides = [side // 2 for side in sides]
        if head == "average":
            # Over all that is left; the gradient of AdaptiveAvgPool2d would not be channels-last.
            layers.append(nn.AvgPool2d(tuple(sides)))
            sides = [1, 1]
        super().__init__(*layers, nn.Flatten(), nn.Linear(channels * math.prod(sides), classes))
