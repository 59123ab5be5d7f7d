"""The learning rate from step to step."""

from __future__ import annotations

from collections.abc import Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR


def one_cycle(optimizer: Optimizer, peaks: Sequence[float], total: int) -> LRScheduler:
    """Return a cycle of the learning rate over `total` steps; a single one, which torch would end it with, is a peak.

    Smith and Topin 2018 (Super-Convergence, section 3), as torch has it.
    """
    if total > 1:
        return OneCycleLR(optimizer, max_lr=list(peaks), total_steps=total)
    for group, peak in zip(optimizer.param_groups, peaks, strict=True):
        group["lr"] = peak
    return LambdaLR(optimizer, lambda _: 1.0)
