"""Similarity-preserving distillation (Tung and Mori 2019): images alike to the teacher are alike to the student."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from kdbench.compress.distill.pairs import OfPairs
from kdbench.settings import checks


@dataclass(frozen=True)
class Similarity(OfPairs):
    """Labels, and `gamma` times the difference of the similarities within each batch (equation 4)."""

    gamma: float = 3000.0  # > 0

    def __post_init__(self) -> None:
        checks.real("compress.gamma", self.gamma, "(0, inf)")

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return `gamma / n² * || G_T - G_S ||²`."""
        return self.gamma * (similarities(teacher) - similarities(student)).pow(2).mean()


def similarities(features: Tensor) -> Tensor:
    """Return `Q Q'` of features (n, numbers), (n, n), each row of length 1 (equations 1 to 3)."""
    return F.normalize(features @ features.T, dim=1)
