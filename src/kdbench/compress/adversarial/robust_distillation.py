"""Adversarially robust distillation (Goldblum et al. 2020, ARD)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.compress.adversarial.under_attack import UnderAttack, attacked
from kdbench.compress.distill.soft_targets import distillation
from kdbench.compress.step import Examples, Run, Task, only
from kdbench.settings import checks
from kdbench.training.batches import Batch
from kdbench.training.criteria import Criterion, cross_entropy
from kdbench.training.features import Output
from kdbench.training.teacher import Teacher


@dataclass(frozen=True)
class RobustDistillation(UnderAttack):
    """Train the network from scratch to answer attacked images as its teacher answers them before the attack."""

    temperature: float  # > 0
    alpha: float  # weight of the labels of images as they are, in [0, 1]; the rest is the teacher's
    eps: float  # by which a pixel may move, in [0, 1]
    attack_step: float | None  # by which it moves in each step; None: 2.5 eps in all of them
    attack_steps: int

    from_scratch: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.real("compress.temperature", self.temperature, checks.TEMPERATURES)
        checks.real("compress.alpha", self.alpha, "[0, 1]")
        self.check_attack()

    def check(self, student: nn.Module, teachers: Sequence[nn.Module], data: Examples) -> None:
        """Raise `BadSetting` unless there is one teacher."""
        only(teachers)

    def __call__(self, model: nn.Module, task: Task) -> nn.Module:
        """Return the student."""
        student = copy.deepcopy(model)
        task.fit(student, AttackedTargets(self, task.teacher, task.run))
        return student


class AttackedTargets(Criterion):
    """`alpha * CE(S(x), labels) + (1 - alpha) * T² * KL(T(x) || S(x + d))`, the mean over the batch.

    Equation 4 of the paper, whose weights are the other way round. `d` is what makes `CE(S(x + d), labels)` grow, as
    in its authors' code.
    """

    def __init__(self, method: RobustDistillation, teacher: Teacher, run: Run) -> None:
        self.method = method
        self.teacher = teacher
        self.run = run
        self.soft: Tensor | None = None  # what the teacher says of the batch before the attack

    def prepare(self, batch: Batch, network: nn.Module) -> Batch:
        """Return the batch with attacked images; where labels count, those as they are stand after them.

        Both run through the network at once: batch norm then normalises in training by what it normalises by in use.
        """
        self.soft = F.log_softmax(self.teacher(batch).logits / self.method.temperature, dim=1)
        changed = attacked(self.method.attack, self.run, network, batch.images, batch.labels)
        if not self.method.alpha:
            return replace(batch, images=changed, view=None)
        return Batch(torch.cat([changed, batch.images]), torch.cat([batch.labels] * 2), torch.cat([batch.index] * 2))

    def __call__(self, output: Output, batch: Batch) -> Tensor:
        """Return the loss."""
        assert self.soft is not None
        alpha, temperature, count = self.method.alpha, self.method.temperature, len(self.soft)
        loss = (1 - alpha) * distillation(output.logits[:count], self.soft, batch.labels[:count], temperature, 0)
        return loss + alpha * cross_entropy(output.logits[count:], batch.labels[count:]) if alpha else loss
