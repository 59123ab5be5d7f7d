"""Losses that compare how the images of a batch lie to each other, and not single answers: any shapes go together."""

from __future__ import annotations

import copy
from abc import abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from kdbench.compress.distill.two_layers import OfTwoLayers
from kdbench.compress.step import Task
from kdbench.training.batches import Batch
from kdbench.training.criteria import Criterion, cross_entropy
from kdbench.training.features import Output
from kdbench.training.teacher import Teacher


@dataclass(frozen=True)
class OfPairs(OfTwoLayers):
    """Train the network from scratch on the labels and on a loss of the features of two layers.

    None: the last layers before the logits.
    """

    def __call__(self, model: nn.Module, task: Task) -> nn.Module:
        """Return the student. Raises `BadSetting` for layers that do not exist."""
        student, teacher = copy.deepcopy(model), task.teacher
        (own, _), (other, _) = self.layers(student, teacher.network, task.data.shape)
        task.fit(student, PairLoss(self, teacher, own, other))
        return student

    @abstractmethod
    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss, weighed, of features (n, numbers) of student and teacher, for the same images."""


class PairLoss(Criterion):
    """`CE(labels) + distance`, of the features of one layer of each."""

    def __init__(self, method: OfPairs, teacher: Teacher, own: str, other: str) -> None:
        self.method = method
        self.teacher = teacher
        self.layers = (own,)
        self.other = other

    def __call__(self, output: Output, batch: Batch) -> Tensor:
        """Return the loss."""
        theirs = self.teacher(batch, [self.other]).features[self.other]
        distance = self.method.distance(output.features[self.layers[0]].flatten(1), theirs.flatten(1))
        return cross_entropy(output.logits, batch.labels) + distance
