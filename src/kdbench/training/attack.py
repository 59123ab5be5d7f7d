"""Attacks: images changed a little, within a bound, so that a loss grows (Madry et al. 2018)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

REACH = 2.5  # times eps: how far all steps together could go (Madry et al. 2018, section 3.1)


@dataclass(frozen=True)
class Attack:
    """Projected gradient ascent, from a random start within the bound.

    Each of `steps` moves every pixel by `step` in the direction in which the loss grows, and back into the images
    that differ by at most `eps` from the original, and lie in [0, 1].
    """

    eps: float
    step: float
    steps: int

    def __call__(self, loss: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """Return changed images, without gradients; `images`: float32 (n, channels, height, width) in [0, 1]."""
        images = images.detach()
        changed = (images + torch.empty_like(images).uniform_(-self.eps, self.eps)).clamp(0, 1)
        for _ in range(self.steps):
            changed.requires_grad_()
            with torch.enable_grad():
                (gradient,) = torch.autograd.grad(loss(changed), changed)
            with torch.no_grad():
                moved = changed + self.step * gradient.sign()
                changed = torch.min(torch.max(moved, images - self.eps), images + self.eps).clamp_(0, 1)
        return changed.detach()
