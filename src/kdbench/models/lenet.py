"""LeNet-5 (LeCun et al. 1998, section II.B), with ReLU and max pooling, as papers on data-free distillation do."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from kdbench.errors import BadSetting
from kdbench.settings import checks


class LeNet(nn.Sequential):
    """Three 5x5 convolutions with pooling after the first two, a hidden layer, and the logits.

    `widths`: channels of the three, and units of the hidden layer: [6, 16, 120, 84] has 61,706 parameters on MNIST.
    Maps normalised images (batch, channels, height, width) to logits (batch, classes). Raises `BadSetting` if there
    are not four widths.
    """

    def __init__(self, widths: Sequence[int], shape: tuple[int, int, int], classes: int) -> None:
        checks.widths("model.widths", widths)
        if len(widths) != 4:
            raise BadSetting(f"model.widths={list(widths)} are not four: type model.widths=[6,16,120,84]")
        first, second, third, hidden = widths
        # Sides after the first, padded convolution with its pooling, the second with its own, and the third.
        left = [(side // 2 - 4) // 2 - 4 for side in shape[1:]]
        super().__init__(
            nn.Conv2d(shape[0], first, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(second, third, 5),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(third * max(left[0], 1) * max(left[1], 1), hidden),
            nn.ReLU(),
            nn.Linear(hidden, classes),
        )
