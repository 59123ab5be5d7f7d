"""Distillation on mixed images (mixup, Zhang et al. 2018; under a teacher, Beyer et al. 2022)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.compress.distill.soft_targets import distillation
from kdbench.compress.step import Examples, NetworkStep, Task, only
from kdbench.settings import checks
from kdbench.training.batches import Batch
from kdbench.training.criteria import Criterion
from kdbench.training.features import Output
from kdbench.training.teacher import Teacher


@dataclass(frozen=True)
class Mixup(NetworkStep):
    """Train the network from scratch on the soft targets of its teacher for mixed images, and on mixed labels.

    The teacher sees what the student sees ("function matching", Beyer et al. 2022, section 3.1).
    """

    temperature: float  # > 0
    alpha: float  # weight of the labels, in [0, 1]; the rest is the teacher's
    mix: float  # of Beta(mix, mix), which the share of the second image is drawn from, > 0

    from_scratch: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.real("compress.temperature", self.temperature, checks.TEMPERATURES)
        checks.real("compress.alpha", self.alpha, "[0, 1]")
        checks.real("compress.mix", self.mix, "(0, inf)")

    @property
    def needs_labels(self) -> bool:
        """Whether labels weigh anything."""
        return self.alpha > 0

    def check(self, student: nn.Module, teachers: Sequence[nn.Module], data: Examples) -> None:
        """Raise `BadSetting` unless there is one teacher."""
        only(teachers)

    def __call__(self, model: nn.Module, task: Task) -> nn.Module:
        """Return the student."""
        student = copy.deepcopy(model)
        task.fit(student, MixedTargets(self, task.teacher, task.data.classes))
        return student


class MixedTargets(Criterion):
    """The loss of `soft_targets.distillation`, of mixed images."""

    def __init__(self, method: Mixup, teacher: Teacher, classes: int) -> None:
        self.method = method
        self.teacher = teacher
        self.classes = classes
        self.share = torch.distributions.Beta(method.mix, method.mix)

    def prepare(self, batch: Batch, network: nn.Module) -> Batch:
        """Return the batch with each image and label mixed with that of another, all by one share."""
        share = float(self.share.sample())
        other = torch.randperm(len(batch.labels), device=batch.labels.device)
        labels = F.one_hot(batch.labels, self.classes).float()
        return replace(
            batch,
            images=torch.lerp(batch.images, batch.images[other], share),
            labels=torch.lerp(labels, labels[other], share),
            view=None,
        )

    def __call__(self, output: Output, batch: Batch) -> Tensor:
        """Return the mean over the batch."""
        temperature, alpha = self.method.temperature, self.method.alpha
        soft = F.log_softmax(self.teacher(batch).logits / temperature, dim=1)
        return distillation(output.logits, soft, batch.labels, temperature, alpha)
