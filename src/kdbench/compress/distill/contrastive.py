"""Contrastive representation distillation (Tian et al. 2020)."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.compress.distill.layers import Shape
from kdbench.compress.distill.two_layers import OfTwoLayers
from kdbench.compress.step import Examples, Task
from kdbench.errors import BadSetting
from kdbench.settings import checks
from kdbench.training.batches import Batch
from kdbench.training.criteria import Criterion, cross_entropy
from kdbench.training.features import Output
from kdbench.training.teacher import Teacher

MOMENTUM = 0.5  # of what the bank remembers, as the paper's code has it


@dataclass(frozen=True)
class Contrastive(OfTwoLayers):
    """Labels, and telling the teacher's features of an image from those of images of other classes.

    None: the last layers before the logits.
    """

    weight: float  # of the contrast (beta in the paper), > 0
    temperature: float  # > 0
    negatives: int  # images that a batch is contrasted with
    numbers: int  # of an embedding

    def __post_init__(self) -> None:
        checks.real("compress.weight", self.weight, "(0, inf)")
        checks.real("compress.temperature", self.temperature, checks.TEMPERATURES)
        checks.whole("compress.negatives", self.negatives, 1)
        checks.whole("compress.numbers", self.numbers, 1)

    def check(self, student: nn.Module, teachers: Sequence[nn.Module], data: Examples) -> None:
        """Raise `BadSetting` for layers that do not exist, and for images of one class."""
        super().check(student, teachers, data)
        if len(data.train.labels.unique()) < 2:
            raise BadSetting("contrastive distillation needs images of several classes to learn from")

    def __call__(self, model: nn.Module, task: Task) -> nn.Module:
        """Return the student. Raises `BadSetting` as `check` does."""
        student, teacher = copy.deepcopy(model), task.teacher
        self.check(student, [teacher.network], task.data)
        (own, own_shape), (other, other_shape) = self.layers(student, teacher.network, task.data.shape)
        memory = Memory((own_shape, other_shape), task.data.train.labels, self.numbers)
        task.fit(student, Contrast(self, teacher, (own, other), memory))
        return student


class Memory(nn.Module):
    """The embeddings of student and teacher, and what they were for each of the training images (n, numbers)."""

    def __init__(self, shapes: tuple[Shape, Shape], labels: Tensor, numbers: int) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList([nn.Linear(torch.Size(shape).numel(), numbers) for shape in shapes])
        banks = F.normalize(torch.randn(2, len(labels), numbers), dim=2)
        self.banks: Tensor
        self.labels: Tensor
        self.scales: Tensor
        self.register_buffer("banks", banks)  # the student's, the teacher's
        self.register_buffer("labels", labels.clone())
        self.register_buffer("scales", torch.full((2,), torch.nan))  # not known yet

    def embedded(self, features: Tensor, whose: int) -> Tensor:
        """Return embeddings (n, numbers) of length 1, of the student (0) or of the teacher (1)."""
        return F.normalize(self.embeddings[whose](features.flatten(1)), dim=1)

    @torch.no_grad()
    def scale_of(self, scores: Tensor, whose: int) -> Tensor:
        """Return the log of the mean of `exp(scores)` in the first batch, constant from then on, as in their code."""
        first = scores.flatten().logsumexp(0) - math.log(scores.numel())
        self.scales[whose] = torch.where(self.scales[whose].isnan(), first, self.scales[whose])
        return self.scales[whose].clone()

    @torch.no_grad()
    def remember(self, embedded: Tensor, index: Tensor, whose: int) -> None:
        """Move what is remembered of images towards what they are now."""
        bank = self.banks[whose]
        bank[index] = F.normalize(MOMENTUM * bank[index] + (1 - MOMENTUM) * embedded, dim=1)


class Contrast(Criterion):
    """`CE(labels) + weight * (NCE(student; teacher's bank) + NCE(teacher; student's bank))`, the mean over the batch.

    Section 3 of the paper, with both directions as in its code. The images to contrast with are drawn once for a
    batch, and of them those of other classes count, where the paper draws them for each image: the same in
    expectation, and a product of matrices instead of a gather.
    """

    def __init__(self, method: Contrastive, teacher: Teacher, names: tuple[str, str], memory: Memory) -> None:
        self.method = method
        self.teacher = teacher
        self.layers = names[:1]
        self.other = names[1]
        self.modules = memory
        self.memory = memory

    def __call__(self, output: Output, batch: Batch) -> Tensor:
        """Return the loss."""
        memory = self.memory
        theirs = self.teacher(batch, [self.other]).features[self.other]
        both = [memory.embedded(output.features[self.layers[0]], 0), memory.embedded(theirs, 1)]
        drawn = torch.randint(len(memory.labels), (self.method.negatives,), device=batch.index.device)
        differs = memory.labels[drawn] != memory.labels[batch.index][:, None]
        loss = cross_entropy(output.logits, batch.labels)
        for whose, embedded in enumerate(both):
            bank = memory.banks[1 - whose]
            positive = (embedded * bank[batch.index]).sum(1) / self.method.temperature
            negative = embedded @ bank[drawn].T / self.method.temperature
            scale = memory.scale_of(torch.cat([positive[:, None], negative], 1), whose)
            loss = loss + self.method.weight * contrast(positive, negative, differs, scale)
        for whose, embedded in enumerate(both):
            memory.remember(embedded.detach(), batch.index, whose)
        return loss


def contrast(positive: Tensor, negative: Tensor, counts: Tensor, scale: Tensor) -> Tensor:
    """Return the mean over the batch of `-log h(positive) - sum of log(1 - h(negative))`, over those that count.

    `h(s) = P / (P + N / M)` with `P = exp(s) / (M exp(scale))` is the probability that a pair with this score is of
    one image, and not one of N drawn from M (equation 19 of the paper, normalised as in its code; M cancels).
    `positive`: scores (n,), cosines over the temperature; `negative`, `counts`: (n, negatives).
    """
    level = scale + counts.sum(1).clamp_min(1).log()
    own = F.softplus(level - positive)
    others = F.softplus(negative - level[:, None]) * counts
    return (own + others.sum(1)).mean()
