"""Residual networks in the CIFAR shape of He et al. 2016 (Deep Residual Learning, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.errors import BadSetting
from kdbench.settings import checks


class Block(nn.Module):
    """Two 3x3 convolutions with batch norm and a parameter-free shortcut (option A of the paper).

    Maps (batch, inputs, h, w) to (batch, outputs, h / stride, w / stride). Where the shapes differ the
    shortcut subsamples and pads the new channels with zeros.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride = stride

    @property
    def new_channels(self) -> int:
        """How many channels the shortcut adds: by the layers as they are now, thinner or two in the place of one."""
        first = next(layer for layer in self.conv1.modules() if isinstance(layer, nn.Conv2d))
        return self.bn2.num_features - first.in_channels

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(residual(x) + shortcut(x))."""
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)), inplace=True)))
        if self.stride > 1 or self.new_channels:
            # Averages over one pixel subsample; the gradient of a slice would not be channels-last.
            x = F.pad(F.avg_pool2d(x, 1, self.stride), (0, 0, 0, 0, 0, self.new_channels))
        return F.relu(residual + x, inplace=True)


class ResNet(nn.Sequential):
    """6n + 2 layers: one convolution, three stages of n = `blocks` blocks, average pooling, the logits.

    `widths` holds the channels of the three stages, each at half the resolution of the one before.
    Maps normalised images (batch, *shape) to logits (batch, classes). Raises `BadSetting` on a bad knob.
    """

    def __init__(self, widths: Sequence[int], blocks: int, shape: tuple[int, int, int], classes: int) -> None:
        checks.widths("model.widths", widths)
        checks.whole("model.blocks", blocks, 1)
        if list(widths) != sorted(widths):
            raise BadSetting(f"model.widths={list(widths)} shrinks: a shortcut can only add channels")
        layers: list[nn.Module] = [
            nn.Conv2d(shape[0], widths[0], 3, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        ]
        channels, sides = widths[0], list(shape[1:])
        for stage, width in enumerate(widths):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(Block(channels, width, stride))
                channels, sides = width, [-(-side // stride) for side in sides]
        # Over all that is left; the gradient of AdaptiveAvgPool2d would not be channels-last.
        super().__init__(*layers, nn.AvgPool2d(tuple(sides)), nn.Flatten(), nn.Linear(channels, classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # He et al. 2015 (Delving Deep into Rectifiers, section 2.2), as in the paper.
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
