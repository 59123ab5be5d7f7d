"""Knowledge distillation by soft targets (Hinton et al. 2015), from one teacher or the mean of several."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.compress.step import Examples, NetworkStep, Task, only
from kdbench.errors import BadSetting
from kdbench.settings import checks
from kdbench.training.batches import Batch
from kdbench.training.criteria import Criterion, cross_entropy
from kdbench.training.features import Output
from kdbench.training.teacher import Teacher


@dataclass(frozen=True)
class Distill(NetworkStep):
    """Train the network on the soft targets of its teachers and the labels together.

    As the first step it starts from the initial weights, with the same images, shifts and number of steps as its
    baseline: the loss is all that differs. As a later step it goes on from what it is given.
    """

    temperature: float  # softens both distributions, > 0
    alpha: float  # weight of the labels, in [0, 1]; the rest is the teachers'
    teacher_weights: Sequence[float] | None = None  # of several teachers, in their order; None: alike
    epochs: int | None = None  # None: a share of those of the recipe
    share: float = 1.0
    lr_scale: float = 1.0  # share of train.lr

    from_scratch: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.real("compress.temperature", self.temperature, checks.TEMPERATURES)
        checks.real("compress.alpha", self.alpha, "[0, 1]")
        if self.teacher_weights is not None:
            checks.several("compress.teacher_weights", self.teacher_weights, "2,1")
            for weight in self.teacher_weights:
                checks.real("compress.teacher_weights", weight, "(0, inf)")
        if self.epochs is not None:
            checks.whole("compress.epochs", self.epochs, 0)
        checks.real("compress.share", self.share, "(0, inf)")
        checks.real("compress.lr_scale", self.lr_scale, "(0, inf)")

    @property
    def needs_labels(self) -> bool:
        """Whether labels weigh anything."""
        return self.alpha > 0

    def check(self, student: nn.Module, teachers: Sequence[nn.Module], data: Examples) -> None:
        """Raise `BadSetting` without teachers, and for more or fewer weights than teachers."""
        if not teachers:
            only(teachers)
        weights = self.teacher_weights
        if weights is not None and len(weights) != len(teachers):
            raise BadSetting(f"compress.teacher_weights={list(weights)} are not {len(teachers)}, one a teacher")

    def __call__(self, model: nn.Module, task: Task) -> nn.Module:
        """Return the student; `model` gives the weights it starts from."""
        student = copy.deepcopy(model)
        self.check(student, [teacher.network for teacher in task.teachers], task.data)
        weights = self.teacher_weights or [1.0] * len(task.teachers)
        criterion = SoftTargets(task.teachers, weights, self.temperature, self.alpha)
        task.fit(student, criterion, epochs=self.epochs, share=self.share, lr_scale=self.lr_scale)
        return student


class SoftTargets(Criterion):
    """The loss of `distillation`, against the mean of what the teachers answer."""

    def __init__(
        self, teachers: Sequence[Teacher], weights: Sequence[float], temperature: float, alpha: float
    ) -> None:
        self.teachers = teachers
        self.weights = weights
        self.temperature = temperature
        self.alpha = alpha

    def __call__(self, output: Output, batch: Batch) -> Tensor:
        """Return the mean over the batch."""
        answers = [teacher(batch).logits for teacher in self.teachers]
        soft = mean_log_probabilities(answers, self.weights, self.temperature)
        return distillation(output.logits, soft, batch.labels, self.temperature, self.alpha)


def mean_log_probabilities(logits: Sequence[Tensor], weights: Sequence[float], temperature: float) -> Tensor:
    """Return the log of the weighted mean of the teachers' probabilities at `temperature`, (n, classes).

    Hinton et al. 2015, section 1: an ensemble's soft targets are the arithmetic mean of its members' distributions.
    """
    each = [F.log_softmax(own / temperature, dim=1) for own in logits]
    if len(each) == 1:
        return each[0]
    logs = torch.tensor([math.log(weight) for weight in weights], dtype=torch.float64)
    shares = torch.log_softmax(logs, dim=0).tolist()  # the same, whose sum cannot be too large for a number
    return torch.logsumexp(torch.stack([own + share for own, share in zip(each, shares, strict=True)]), dim=0)


def distillation(student: Tensor, soft: Tensor, labels: Tensor, temperature: float, alpha: float) -> Tensor:
    """`alpha * CE(student, labels) + (1 - alpha) * T² * KL(soft || student_T)`, both means over the batch.

    Hinton et al. 2015 (Distilling the Knowledge in a Neural Network, section 2): soft targets at temperature
    T, and the factor T² which keeps the size of their gradient independent of T. `student` are logits (n, classes),
    `soft` the teachers' log-probabilities at T, `labels` classes (n,) or their probabilities (n, classes).
    At alpha = 0 and T = 1 the gradient to the student's logits is
    `(softmax(student) - exp(soft)) / n`.
    """
    kl = F.kl_div(F.log_softmax(student / temperature, dim=1), soft, reduction="batchmean", log_target=True)
    if not alpha:  # labels may be none of these classes
        return temperature**2 * kl
    return alpha * cross_entropy(student, labels) + (1 - alpha) * temperature**2 * kl
