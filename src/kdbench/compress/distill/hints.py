"""Hints (Romero et al. 2015, FitNets): the first stage, in which a student's layer predicts one of its teacher."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from torch import Tensor, nn

from kdbench.compress.distill import layers
from kdbench.compress.distill.projection import Projection
from kdbench.compress.distill.two_layers import OfTwoLayers
from kdbench.compress.step import Task
from kdbench.settings import checks
from kdbench.training.batches import Batch
from kdbench.training.criteria import Criterion
from kdbench.training.features import Output
from kdbench.training.teacher import Teacher


@dataclass(frozen=True)
class Hint(OfTwoLayers):
    """Train the layers up to `student_layer` on the hint alone; a step after it has to train the rest.

    The layers are called guided and hint in the paper; None: those halfway to the logits.
    """

    epochs: int

    found = staticmethod(layers.middle)

    def __post_init__(self) -> None:
        checks.whole("compress.hint_epochs", self.epochs, 1)

    def __call__(self, model: nn.Module, task: Task) -> nn.Module:
        """Return the student. Raises `BadSetting` for layers that do not exist."""
        student, teacher = copy.deepcopy(model), task.teacher
        (guided, own), (hint, other) = self.layers(student, teacher.network, task.data.shape)
        task.fit(student, HintLoss(teacher, guided, hint, Projection(own, other)), epochs=self.epochs)
        return student


class HintLoss(Criterion):
    """`|| regressor(student's features) - teacher's features ||² / 2` (equation 3), the mean over their numbers.

    The paper has the sum; the mean asks for no other learning rate where features are larger.
    """

    def __init__(self, teacher: Teacher, guided: str, hint: str, regressor: Projection) -> None:
        self.teacher = teacher
        self.layers = (guided,)
        self.hint = hint
        self.modules = regressor
        self.regressor = regressor

    def __call__(self, output: Output, batch: Batch) -> Tensor:
        """Return the loss."""
        hint = self.teacher(batch, [self.hint]).features[self.hint]
        own, other = self.regressor(output.features[self.layers[0]], hint)
        return (own - other).pow(2).mean() / 2
