"""From what a student's layer gives to what a teacher's gives, whatever their shapes: trained along, then dropped."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.compress.distill.layers import Shape


def alike(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Return both features with the same places, so that they differ in channels alone.

    Of maps (n, channels, height, width) the larger are averaged down to the size of the smaller; where only one are
    maps, these are averaged over all places; anything else is flattened.
    """
    if student.dim() == teacher.dim() == 4:
        size = [min(own, other) for own, other in zip(student.shape[2:], teacher.shape[2:], strict=True)]
        both = [m if list(m.shape[2:]) == size else F.adaptive_avg_pool2d(m, size) for m in (student, teacher)]
        return both[0], both[1]
    pooled = [m.mean((2, 3)) if m.dim() == 4 else m.flatten(1) for m in (student, teacher)]
    return pooled[0], pooled[1]


class Projection(nn.Module):
    """A linear map of channels: features of the shape `own` to the channels of `other`, place by place.

    The regressor of Romero et al. 2015 (FitNets, section 2.2), with a kernel of one place.
    """

    def __init__(self, own: Shape, other: Shape) -> None:
        super().__init__()
        maps = len(own) == len(other) == 3
        count = [shape[0] if len(shape) == 3 else math.prod(shape) for shape in (own, other)]
        self.linear = nn.Conv2d(count[0], count[1], 1) if maps else nn.Linear(count[0], count[1])

    def forward(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Return the student's features, projected, and the teacher's, of one shape."""
        own, other = alike(student, teacher)
        return self.linear(own), other
