"""Decoupled distillation (Zhao et al. 2022): what the teacher says of the label, and of all other classes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.compress.step import Examples, NetworkStep, Task, only
from kdbench.settings import checks
from kdbench.training.batches import Batch
from kdbench.training.criteria import Criterion, cross_entropy
from kdbench.training.features import Output
from kdbench.training.teacher import Teacher


@dataclass(frozen=True)
class Decoupled(NetworkStep):
    """Train the network from scratch on the labels and on both parts of the teacher's answer, weighed apart."""

    temperature: float  # softens both distributions, > 0
    target: float  # weight of what the teacher says of the label's class (alpha in the paper), >= 0
    others: float  # weight of what it says of the other classes among themselves (beta in the paper), >= 0

    from_scratch: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.real("compress.temperature", self.temperature, checks.TEMPERATURES)
        checks.real("compress.target", self.target, "[0, inf)")
        checks.real("compress.others", self.others, "[0, inf)")

    def check(self, student: nn.Module, teachers: Sequence[nn.Module], data: Examples) -> None:
        """Raise `BadSetting` unless there is one teacher."""
        only(teachers)

    def __call__(self, model: nn.Module, task: Task) -> nn.Module:
        """Return the student."""
        student = copy.deepcopy(model)
        task.fit(student, DecoupledTargets(task.teacher, self))
        return student


class DecoupledTargets(Criterion):
    """`CE(labels) + T² * (target * TCKD + others * NCKD)`, the mean over the batch (the sum is equation 7)."""

    def __init__(self, teacher: Teacher, knobs: Decoupled) -> None:
        self.teacher = teacher
        self.knobs = knobs

    def __call__(self, output: Output, batch: Batch) -> Tensor:
        """Return the loss."""
        temperature = self.knobs.temperature
        soft = F.log_softmax(self.teacher(batch).logits / temperature, dim=1)
        own = F.log_softmax(output.logits / temperature, dim=1)
        parts = self.knobs.target * target_class(own, soft, batch.labels)
        parts = parts + self.knobs.others * other_classes(own, soft, batch.labels)
        return cross_entropy(output.logits, batch.labels) + temperature**2 * parts.mean()


def target_class(own: Tensor, soft: Tensor, labels: Tensor) -> Tensor:
    """Return TCKD, (n,): the divergence of the two probabilities "the label's class" and "another" (equation 5).

    `own`, `soft`: log-probabilities (n, classes) of student and teacher.
    """
    both = [binary(log_probabilities, labels) for log_probabilities in (own, soft)]
    return F.kl_div(both[0], both[1], reduction="none", log_target=True).sum(1)


def binary(log_probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return the log-probabilities (n, 2) of the label's class and of all others together."""
    is_label = F.one_hot(labels, log_probabilities.shape[1]).bool()
    others = log_probabilities.masked_fill(is_label, -torch.inf).logsumexp(1)
    return torch.stack([log_probabilities[is_label], others], dim=1)


def other_classes(own: Tensor, soft: Tensor, labels: Tensor) -> Tensor:
    """Return NCKD, (n,): the divergence of the distributions over all classes but the label's (equation 5)."""
    is_label = F.one_hot(labels, own.shape[1]).bool()
    count = own.shape[1] - 1
    both = [one[~is_label].view(-1, count).log_softmax(1) for one in (own, soft)]
    return F.kl_div(both[0], both[1], reduction="none", log_target=True).sum(1)
