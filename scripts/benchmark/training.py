"""Training and distilling: one epoch of ours against one epoch of the ordinary way."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from benchmark import ceiling
from benchmark.ordinary import Ordinary
from benchmark.race import Race, race
from kdbench.compress.distill.soft_targets import Distill
from kdbench.compress.step import Examples, Task
from kdbench.data.splits import Splits
from kdbench.models.network import build
from kdbench.settings.network import NetworkSpec
from kdbench.training.batches import Batches
from kdbench.training.criteria import LABELS, Criterion
from kdbench.training.fit import EVALUATION_BATCH, fit
from kdbench.training.learner import Learner
from kdbench.training.runtime import Runtime
from kdbench.training.teacher import Teacher


@dataclass(frozen=True)
class Track:
    """What every race runs on: the same networks, images, threads and number of samples for both."""

    networks: dict[str, NetworkSpec]
    splits: Splits
    machine: Runtime
    rounds: int

    def network(self, name: str) -> nn.Module:
        """Return the network of that name, as its seed initialises it."""
        splits = self.splits
        return build(self.networks[name].model, 0, splits.shape, splits.classes, splits.pixel_statistics)

    def bare(self, name: str) -> nn.Module:
        """Return it without our normalisation, which the transforms of the ordinary way do themselves."""
        return self.network(name).model  # type: ignore[return-value]

    def batch(self, name: str) -> Tensor:
        """Return black images, as many as a training step of the network sees."""
        return torch.zeros(self.networks[name].recipe.batch_size, *self.splits.shape)

    def epoch(self, network: nn.Module, name: str, shift: int, criterion: Criterion = LABELS) -> None:
        """Train for one epoch of the network's own recipe, validation included, as the ordinary way does too."""
        recipe = replace(self.networks[name].recipe, epochs=1, shift=shift)
        fit(Learner(network, 0, criterion), self.splits.train, self.splits.val, recipe, self.machine)


def train(track: Track, name: str) -> Race:
    """Race an epoch on the labels, images as they are; add the share of what convolutions alone can reach."""
    theirs = Ordinary(track.bare(name), None, track.splits.train, track.splits.val, 0)

    def ours() -> float:
        network = track.network(name)
        return timed(lambda: track.epoch(network, name, 0))

    result = race(f"train {name}", ours, lambda: timed(theirs), track.rounds)
    return replace(result, note=share(track, name, median(result.ours)))


def share(track: Track, name: str, seconds: float) -> str:
    """Say how much of an epoch the convolutions of its training steps would take alone."""
    dtype = torch.bfloat16 if track.machine.precision == "bf16" else torch.float32
    images = track.batch(name)
    step, operations = ceiling.of_training(track.network(name), images, dtype)
    if not step:
        return ""
    # Validation runs forward only, about a third of a training step for each image.
    steps = (len(track.splits.train) + len(track.splits.val) / 3) / len(images)
    return f"{steps * step / seconds:.0%} of the convolution ceiling ({operations / step / 1e9:.0f} GFLOP/s)"


def distill(track: Track, student: str, teacher: str, shift: int = 0) -> Race:
    """Race an epoch under a teacher. What ours spends on its logits is counted over the run's epochs."""
    theirs = Ordinary(track.bare(student), track.bare(teacher), track.splits.train, track.splits.val, shift)
    epochs = track.networks[student].recipe.epochs
    examples = Examples(track.splits.train, track.splits.val, track.splits.class_names)
    each: list[float] = []  # the seconds of the teacher, a round at a time

    def ours() -> float:
        views = Batches(track.splits.train, EVALUATION_BATCH, shift, 0, track.machine.device)
        taught_by = Teacher(track.network(teacher), track.machine)
        spent: list[float] = []

        def cached(view: int) -> Tensor:
            logits, took = taught_by.logits_of(views, view)
            spent.append(took.seconds)
            return logits

        def train_student(network: nn.Module, criterion: Criterion, **_: Any) -> None:
            track.epoch(network, student, shift, criterion)

        taught_by.cached = cached
        start = track.network(student)
        wall = timed(lambda: Distill(2, 0.1)(start, Task(examples, [taught_by], train_student, 0, start)))
        each.append(sum(spent))
        return wall if shift else wall - sum(spent) + sum(spent) / epochs

    name = f"distill {student}" + (f" shift {shift}" if shift else "")
    result = race(name, ours, lambda: timed(theirs), track.rounds)
    once = "in every epoch" if shift else f"once in {epochs} epochs"
    return replace(result, note=f"logits of {teacher}: {median(each):.2f} s, {once}")


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that `work()` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
