"""LeNet-5 as Caffe has it, which papers on pruning and quantization compress (Han et al. 2016 and after)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from kdbench.errors import BadSetting
from kdbench.settings import checks


class LeNetCaffe(nn.Sequential):
    """Two 5x5 convolutions, each with 2x2 max pooling, a hidden layer with ReLU, and the logits.

    `widths`: channels of the two, and units of the hidden layer: [20, 50, 500] has 431,080 parameters on MNIST, which
    Han et al. 2016 (Deep Compression, table 4) count as 431K. Maps normalised images (batch, channels, height, width)
    to logits (batch, classes). Raises `BadSetting` if there are not three widths, or images have under 16 pixels.
    """

    def __init__(self, widths: Sequence[int], shape: tuple[int, int, int], classes: int) -> None:
        checks.widths("model.widths", widths)
        if len(widths) != 3:
            raise BadSetting(f"model.widths={list(widths)} are not three: type model.widths=[20,50,500]")
        if min(shape[1:]) < 16:
            raise BadSetting(f"lenet5_caffe takes images from 16x16 on, and these are {shape[1]}x{shape[2]}")
        first, second, hidden = widths
        height, width = (((side - 4) // 2 - 4) // 2 for side in shape[1:])
        super().__init__(
            nn.Conv2d(shape[0], first, 5),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, 5),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(second * height * width, hidden),
            nn.ReLU(),
            nn.Linear(hidden, classes),
        )
