"""Distillation without data: a generator makes the images, from what the teacher says of them.

The generator of Chen et al. 2019 (DAFL) looks for images of which the teacher is sure, and of all classes; that of
Micaelli and Storkey 2019 for those of which student and teacher think differently. Here it looks for both.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.compress.distill.image_generator import Generator, normalisation
from kdbench.compress.distill.soft_targets import distillation
from kdbench.compress.step import Examples, NetworkStep, Run, Task, only
from kdbench.data.splits import Split
from kdbench.errors import BadSetting
from kdbench.settings import checks
from kdbench.training.batches import Batch
from kdbench.training.criteria import Criterion
from kdbench.training.features import Output


@dataclass(frozen=True)
class DataFree(NetworkStep):
    """Train the network from scratch under its teacher, on images of a generator alone.

    Of every `turns` batches the generator makes one, from which student and generator both learn; the others are of
    images that it made before, from which the student learns: its step costs a fraction of the generator's.
    """

    temperature: float  # of the soft targets, > 0
    images: int  # an epoch
    turns: int
    kept: int  # images that are remembered
    shift: int  # pixels by which these are moved, at most
    noise: int  # numbers that an image is made of
    width: int  # channels of the generator
    certainty: float  # weight of the teacher's being sure (one-hot loss of DAFL), >= 0
    balance: float  # weight of all classes being alike often (information entropy loss of DAFL), >= 0
    disagreement: float  # weight of student and teacher being apart (equation 2 of Micaelli and Storkey), >= 0
    generator_lr_scale: float  # share of train.lr

    from_scratch: ClassVar[bool] = True
    reads_images: ClassVar[bool] = False

    def __post_init__(self) -> None:
        checks.real("compress.temperature", self.temperature, checks.TEMPERATURES)
        for name in ("images", "kept", "noise", "width"):
            checks.whole(f"compress.{name}", getattr(self, name), 2)
        checks.whole("compress.turns", self.turns, 1)
        checks.whole("compress.shift", self.shift, 0)
        for name in ("certainty", "balance", "disagreement"):
            checks.real(f"compress.{name}", getattr(self, name), "[0, inf)")
        checks.real("compress.generator_lr_scale", self.generator_lr_scale, "(0, inf)")

    @property
    def needs_labels(self) -> bool:
        """Nothing of the data is looked at."""
        return False

    def check(self, student: nn.Module, teachers: Sequence[nn.Module], data: Examples) -> None:
        """Raise `BadSetting` for a teacher that no gradient comes back from."""
        teacher = only(teachers)
        device = next((tensor.device for tensor in teacher.parameters()), torch.device("cpu"))
        if not teacher.eval()(torch.zeros(2, *data.shape, requires_grad=True, device=device)).requires_grad:
            raise BadSetting(
                "compress.teacher is a file, from which the generator gets no gradient: name a network of kdbench ls"
            )

    def __call__(self, model: nn.Module, task: Task) -> nn.Module:
        """Return the student. Raises `BadSetting` for a teacher that no gradient comes back from."""
        student, shape = copy.deepcopy(model), task.data.shape
        teacher = task.teacher.network
        self.check(student, [teacher], task.data)
        sizes = {"noise": self.noise, "width": self.width, "kept": self.kept, "shift": self.shift}
        images = Generator(shape, *normalisation(teacher, model), **sizes)
        # Places for images that are made when their turn comes.
        blank = torch.zeros(1, *shape, dtype=torch.uint8).expand(self.images, *shape)
        places = Split(blank, torch.zeros(self.images, dtype=torch.int64))
        task.fit(student, Generated(self, teacher, images, task.run), examples=places)
        return student


class Against(torch.autograd.Function):
    """The same forward; backward the gradient times `-weight`: who made the input climbs what others descend."""

    @staticmethod
    def forward(context: Any, given: Tensor, weight: float) -> Tensor:
        """Return what was given."""
        context.weight = weight
        return given.view_as(given)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Return the gradient, turned round."""
        return -context.weight * gradient, None


class Generated(Criterion):
    """Student: `L1(logits) + T² KL(teacher || student)`.

    Generator, where it is its turn: `certainty * CE(teacher, its own class) + balance * sum p log p - disagreement *
    the student's loss`, with p the mean of the teacher's probabilities (equations 3, 5 and 7 of DAFL, without its
    activation loss; equation 2 of Micaelli and Storkey). Then both take their step at once: one pass each way through
    student and teacher gives the gradients of both.
    """

    def __init__(self, method: DataFree, teacher: nn.Module, generator: Generator, run: Run) -> None:
        self.method = method
        self.teacher = teacher
        self.modules = generator
        self.modules_lr_scale = method.generator_lr_scale
        self.generator = generator
        self.run = run
        self.fresh: Tensor | None = None  # the batch, where the generator made it just now

    def prepare(self, batch: Batch, network: nn.Module) -> Batch:
        """Return a batch of made images in the place of `batch`."""
        count = len(batch.index)
        if int(self.generator.batches) % self.method.turns == 0:
            self.fresh = self.generator(count)
            images = Against.apply(self.fresh, self.method.disagreement)
        else:
            self.fresh = None
            images = self.generator.remembered(count)
        self.generator.batches += 1
        return replace(batch, images=images, view=None)

    def __call__(self, output: Output, batch: Batch) -> Tensor:
        """Return the student's loss, or the sum of both."""
        if self.fresh is None:
            with torch.no_grad():
                said = self.run(self.teacher, batch.images).logits
            return self.apart(output.logits, said)
        method = self.method
        said = self.run(self.teacher, self.fresh).logits
        self.generator.remember(self.fresh.detach())
        mean = said.softmax(1).mean(0)
        sure = F.cross_entropy(said, said.argmax(1))
        own = method.certainty * sure + method.balance * (mean * mean.clamp_min(1e-12).log()).sum()
        return self.apart(output.logits, Against.apply(said, method.disagreement)) + own

    def apart(self, logits: Tensor, said: Tensor) -> Tensor:
        """Return how far the student is from its teacher."""
        soft = F.log_softmax(said / self.method.temperature, dim=1)
        return F.l1_loss(logits, said) + distillation(logits, soft, said.argmax(1), self.method.temperature, 0)
