"""Methods that run more than one network on each batch: an epoch, against the same arithmetic and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.race import Race, race
from benchmark.training import Track, timed
from kdbench.compress.distill.attention import Attention
from kdbench.compress.distill.contrastive import Contrastive
from kdbench.compress.distill.data_free import DataFree
from kdbench.compress.distill.hints import Hint
from kdbench.compress.distill.image_generator import generator_layers
from kdbench.compress.distill.mutual import Mutual
from kdbench.compress.distill.relational import Relational
from kdbench.compress.distill.similarity import Similarity
from kdbench.compress.step import Examples, NetworkStep, Task
from kdbench.data.splits import Split
from kdbench.training import features
from kdbench.training.batches import Batch
from kdbench.training.criteria import LABELS, Criterion
from kdbench.training.features import Output
from kdbench.training.fit import fit
from kdbench.training.learner import Learner
from kdbench.training.teacher import Teacher

STEPS = 100
EPOCH = 390  # steps of data_free: its generator and its memory are made once a training, not once in 100 steps
STUDENT, TEACHER = "cnn_medium", "cnn_deep"
GENERATED = DataFree(4.0, 128 * EPOCH, 10, 50_000, 2, 64, 32, 1.0, 5.0, 1.0, 1.7)
TAUGHT: dict[str, NetworkStep] = {
    "hints": Hint(1),
    "attention": Attention(1.0),
    "similarity": Similarity(gamma=3000.0),
    "relational": Relational(distance_weight=25.0, angle_weight=50.0),
    "contrastive": Contrastive(0.8, 0.07, 1024, 128),
}


@dataclass(frozen=True)
class Passes:
    """What one step computes at least: each network on a batch, forward, or forward and backward."""

    track: Track
    images: Tensor
    labels: Tensor

    def both_ways(self, network: nn.Module) -> None:
        """Run a network forward, and back to all its weights."""
        network.zero_grad(set_to_none=True)
        with self.track.machine.autocast:
            logits = network(self.images)
        F.cross_entropy(logits.float(), self.labels).backward()

    @torch.no_grad()
    def forward(self, network: nn.Module) -> None:
        """Run a network forward."""
        with self.track.machine.autocast:
            network(self.images)


def races(track: Track) -> list[Callable[[], Race]]:
    """Return the races: seconds of `STEPS` steps (`data_free`: `EPOCH`), against the passes alone.

    Ours include the validation of a few images.
    """
    made = [lambda name=name, method=method: taught(track, name, method) for name, method in TAUGHT.items()]
    return [*made, lambda: mutual(track), lambda: data_free(track)]


def taught(track: Track, name: str, method: NetworkStep) -> Race:
    """Race a method that runs its teacher on each batch."""
    student, teacher = track.network(STUDENT), track.network(TEACHER)

    own = [Teacher(track.network(TEACHER), track.machine)]
    alone = loss_alone(track, method, own[0])

    def least(passes: Passes, _: int) -> None:
        passes.both_ways(student)
        passes.forward(teacher)
        alone()

    return raced(track, f"{name} {STUDENT}", STUDENT, method, own, least, [student], [teacher])


def loss_alone(track: Track, method: NetworkStep, teacher: Teacher) -> Callable[[], None]:
    """Return what computes a method's loss and its gradient from features that are there already."""
    found: list[Criterion] = []

    def kept(_: nn.Module, criterion: Criterion = LABELS, **__: Any) -> None:
        found.append(criterion)

    splits, start = track.splits, track.network(STUDENT)
    method(start, Task(Examples(splits.train, splits.val, splits.class_names), [teacher], kept, 0, start))
    criterion = found[0]
    index = torch.arange(track.networks[STUDENT].recipe.batch_size)
    batch = Batch(splits.train.images[index].float() / 255, splits.train.labels[index], index)
    with torch.no_grad():
        own = features.run(start.eval(), batch.images, criterion.layers)
    leaves = [tensor.requires_grad_() for tensor in (own.logits, *own.features.values())]
    known: dict[tuple[str, ...], Output] = {}

    def answered(batch: Batch, names: Sequence[str] = ()) -> Output:
        if tuple(names) not in known:
            known[tuple(names)] = teacher(batch, names)
        return known[tuple(names)]

    criterion.teacher = answered  # type: ignore[attr-defined]
    criterion(own, batch)

    def compute() -> None:
        for leaf in leaves:
            leaf.grad = None
        criterion(own, batch).backward()

    return compute


def mutual(track: Track) -> Race:
    """Race two networks that teach each other."""
    pair = [track.network(STUDENT) for _ in range(2)]

    def least(passes: Passes, _: int) -> None:
        for network in pair:
            passes.both_ways(network)

    return raced(track, f"mutual {STUDENT}", STUDENT, Mutual(2, 1.0), [], least, pair, [])


def data_free(track: Track) -> Race:
    """Race a student without data: of ten steps one goes back through both networks into the generator."""
    student, teacher = track.network("lenet5_half"), track.network("lenet5")
    maker = generator_layers(track.splits.shape, GENERATED.noise, GENERATED.width)

    def least(passes: Passes, step: int) -> None:
        if step % GENERATED.turns:
            passes.both_ways(student)
            passes.forward(teacher)
            return
        student.zero_grad(set_to_none=True)
        maker.zero_grad(set_to_none=True)
        with track.machine.autocast:
            images = maker(torch.randn(len(passes.images), GENERATED.noise)).float()
            apart = F.l1_loss(student(images), teacher(images))
        apart.backward()

    own = [Teacher(track.network("lenet5"), track.machine)]
    return raced(
        track, "data_free lenet5_half", "lenet5_half", GENERATED, own, least, [student, maker], [teacher], EPOCH
    )


def raced(
    track: Track,
    name: str,
    student: str,
    method: NetworkStep,
    teachers: Sequence[Teacher],
    least: Callable[[Passes, int], None],
    trained: Sequence[nn.Module],
    frozen: Sequence[nn.Module],
    steps: int = STEPS,
) -> Race:
    """Race an epoch of so many steps of a method against the passes of `least`, called with each step's number."""
    size = track.networks[student].recipe.batch_size
    splits = replace(track.splits, train=repeated(track.splits.train, steps * size), val=track.splits.val[:64])
    recipe = replace(track.networks[student].recipe, epochs=1, shift=0)
    batch = splits.train[:size]
    images = (batch.images.float() / 255).contiguous(memory_format=torch.channels_last)
    passes = Passes(track, images, batch.labels)
    for network in trained:
        network.to(memory_format=torch.channels_last).train()  # as trainings do: it is the fastest
    for network in frozen:
        network.to(memory_format=torch.channels_last).eval().requires_grad_(False)

    def run(network: nn.Module, images: Tensor, layers: Sequence[str] = ()) -> Output:
        with track.machine.autocast:
            return features.in_float32(features.run(network, images, layers))

    def train(network: nn.Module, criterion: Criterion = LABELS, **given: Any) -> None:
        fit(Learner(network, 0, criterion), given.get("examples") or splits.train, splits.val, recipe, track.machine)

    def another(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        other = track.network(student)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.01)
        return other

    def ours() -> float:
        start = track.network(student)
        examples = Examples(splits.train, splits.val, splits.class_names)
        return timed(lambda: method(start, Task(examples, teachers, train, 0, start, run, another)))

    def theirs() -> float:
        began = time.perf_counter()
        for step in range(steps):
            least(passes, step)
        return time.perf_counter() - began

    result = race(name, ours, theirs, track.rounds)
    return replace(result, note="ordinary: its own arithmetic alone")


def repeated(split: Split, count: int) -> Split:
    """Return `count` images, from the start again where there are fewer."""
    return split[torch.arange(count) % len(split)]
