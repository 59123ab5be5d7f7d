"""Losses as pure functions of logits: (batch, classes) float tensors in, a scalar mean over the batch out."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of the softmax of `logits` against int64 `labels` (batch,)."""
    return F.cross_entropy(logits, labels)


def distillation(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float, alpha: float) -> Tensor:
    """`alpha * CE(student, labels) + (1 - alpha) * T² * KL(teacher_T || student_T)`, both means over the batch.

    Hinton et al. 2015 (Distilling the Knowledge in a Neural Network, section 2): soft targets at temperature
    T, and the factor T² which keeps the size of their gradient independent of T. `student` and `teacher` are
    logits (batch, classes). At alpha = 0 and T = 1 the gradient to the student's logits is
    `(softmax(student) - softmax(teacher)) / batch`.
    """
    soft = F.kl_div(
        F.log_softmax(student / temperature, dim=1),
        F.log_softmax(teacher / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return alpha * cross_entropy(student, labels) + (1 - alpha) * temperature**2 * soft
