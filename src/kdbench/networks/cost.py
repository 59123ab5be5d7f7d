"""What trainings a network takes, and about how long each: enough to say which of two is longer, before either is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from kdbench.compress.order import is_compared, method_of, teachers_of
from kdbench.compress.resized import macs
from kdbench.compress.step import FINETUNE_SHARE, NetworkStep
from kdbench.data import mnist
from kdbench.networks.initial import initialised
from kdbench.settings.config import digest
from kdbench.settings.network import NetworkSpec, plain

CLASSES, IMAGES = 10, 55_000  # of MNIST: data need not be read to put runs in an order
# Of a step however small the network, and of a step's multiply-adds, three times those of its forward pass: fitted to
# what the rows of docs/study recorded on two cores (the logarithms are off by 0.7 on average).
STEP_SECONDS, MACS_A_SECOND = 1.5e-3, 60e9


@dataclass(frozen=True)
class Training:
    """One training: equal `key`s are one and the same, done once; `seconds` is about what it takes on a core."""

    key: str
    seconds: float


def trainings(spec: NetworkSpec) -> list[Training]:
    """Return the trainings that lead to a network and to what it is compared with, each after those that it needs."""
    return list(dict.fromkeys(_trainings(spec)))


def _trainings(spec: NetworkSpec) -> Iterator[Training]:
    methods = [method_of(step) for step in spec.steps]
    skipped = bool(methods) and isinstance(methods[0], NetworkStep) and methods[0].from_scratch
    if spec.recipe.epochs and (not skipped or (is_compared(spec) and not teachers_of(spec))):
        yield _training(spec.uncompressed, spec.recipe.epochs)
    for count, (step, method) in enumerate(zip(spec.steps, methods, strict=True), 1):
        for teacher in step.teachers:
            yield from _trainings(teacher)
        if isinstance(method, NetworkStep) and (epochs := _epochs(spec, method)):
            yield _training(spec.with_steps(count), epochs)


def _epochs(spec: NetworkSpec, method: Any) -> float:
    """Return about how many epochs a step trains for."""
    own = getattr(method, "epochs", getattr(method, "finetune_epochs", None))
    if own is not None:
        return float(own)
    share = FINETUNE_SHARE if hasattr(method, "finetune_epochs") else 1.0
    return share * spec.recipe.epochs


def _training(spec: NetworkSpec, epochs: float) -> Training:
    steps = epochs * IMAGES / spec.recipe.batch_size
    work = 3 * spec.recipe.batch_size * _macs(spec) / MACS_A_SECOND
    known = plain(replace(spec, name="", compress="", seed_is_fixed=False))
    return Training(digest(known), steps * (STEP_SECONDS + work))


_counted: dict[str, int] = {}


def _macs(spec: NetworkSpec) -> int:
    """Return the multiply-adds for one image; 0 if it cannot be built here, which its own run will say."""
    key = digest(spec.model)
    if key not in _counted:
        try:
            plainly = replace(spec, weights=None, view="whole", steps=())
            _counted[key] = macs(initialised(plainly, mnist.SHAPE, CLASSES, ([0.5], [0.5])), mnist.SHAPE)
        except Exception:
            _counted[key] = 0
    return _counted[key]
