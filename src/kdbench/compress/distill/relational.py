"""Relational distillation (Park et al. 2019): distances and angles between images, as the teacher has them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kdbench.compress.distill.pairs import OfPairs
from kdbench.settings import checks


@dataclass(frozen=True)
class Relational(OfPairs):
    """Labels, and the distances and angles within each batch (equations 7 and 10)."""

    distance_weight: float = 25.0  # >= 0
    angle_weight: float = 50.0  # >= 0

    def __post_init__(self) -> None:
        checks.real("compress.distance_weight", self.distance_weight, "[0, inf)")
        checks.real("compress.angle_weight", self.angle_weight, "[0, inf)")

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return both losses, weighed: Huber's (equation 8), the mean over all pairs, and over all triplets."""
        loss = student.new_zeros(())
        if self.distance_weight:
            loss = loss + self.distance_weight * F.smooth_l1_loss(distances(student), distances(teacher))
        if self.angle_weight:
            loss = loss + self.angle_weight * F.smooth_l1_loss(angles(student), angles(teacher))
        return loss


def squares(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the products of features (n, numbers), and their squared distances: (n, n) both.

    Taken from their mean, which no distance depends on, so that little is lost in the differences.
    """
    centred = features - features.detach().mean(0)
    products = centred @ centred.T
    norms = products.diagonal()
    return products, (norms[:, None] + norms[None, :] - 2 * products).clamp_min(0)


def distances(features: Tensor) -> Tensor:
    """Return the distance of each pair over the mean of all that are not 0 (equations 5 and 6), (n, n)."""
    _, squared = squares(features)
    apart = squared > 0
    found = torch.where(apart, squared, 1).sqrt() * apart  # of 0 the root has no gradient
    return found / (found.sum() / apart.sum().clamp_min(1)).clamp_min(1e-12)


def angles(features: Tensor) -> Tensor:
    """Return the cosine of the angle at image j between images i and k, at [i, j, k] (equation 9): (n, n, n).

    From products alone: `(x_i - x_j)(x_k - x_j) = x_i x_k - x_i x_j - x_j x_k + x_j x_j`; 0 where two are equal.
    """
    products, squared = squares(features)
    norms = products.diagonal()
    dots = products[:, None, :] - products[:, :, None] - products[None, :, :] + norms[None, :, None]
    apart = squared > 1e-12
    lengths = torch.where(apart, squared, 1).rsqrt() * apart
    return dots * lengths[:, :, None] * lengths[None, :, :]
