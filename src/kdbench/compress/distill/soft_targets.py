"""Knowledge distillation (Hinton et al. 2015)."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from kdbench.compress.step import NetworkStep, Task
from kdbench.settings import checks
from kdbench.training.batches import Batch
from kdbench.training.losses import distillation


@dataclass(frozen=True)
class Distill(NetworkStep):
    """Train the network from scratch on a teacher's soft targets and the labels together.

    Same initial weights, images, shifts and number of steps as its baseline: the loss is all that differs.
    """

    temperature: float  # softens both distributions, > 0
    alpha: float  # weight of the labels, in [0, 1]; the rest is the teacher's

    from_scratch: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.real("compress.temperature", self.temperature, "(0, inf)")
        checks.real("compress.alpha", self.alpha, "[0, 1]")

    def __call__(self, model: nn.Module, task: Task) -> nn.Module:
        """Return the student; `model` gives its initial weights."""
        teacher = task.teacher

        def loss(logits: Tensor, batch: Batch) -> Tensor:
            return distillation(logits, teacher(batch), batch.labels, self.temperature, self.alpha)

        student = copy.deepcopy(model)
        task.fit(student, loss=loss)
        return student
