"""Which data a run takes: sizes, channels, classes, and enough images to train on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from kdbench.data.splits import Splits
from kdbench.errors import BadSetting, printable
from kdbench.settings.network import NetworkSpec

MIN_SIDE, MAX_SIDE = 8, 64  # pixels
CHANNELS = (1, 3)
MIN_CLASSES, MAX_CLASSES = 2, 1000
SHOWN = 3  # how many names a message lists


def require(name: str, splits: Splits) -> None:
    """Raise `BadSetting`, in one line, unless the data set `name` is one that a run can be about.

    That is images from 8x8 to 64x64 in 1 or 3 channels, in 2 to 1,000 classes, each with some to train on. What a
    network only learns from besides (a transfer set) need not be one.
    """
    channels, height, width = splits.shape
    if min(height, width) < MIN_SIDE or max(height, width) > MAX_SIDE:
        possible = f"{MIN_SIDE}x{MIN_SIDE} to {MAX_SIDE}x{MAX_SIDE} are possible"
        raise BadSetting(f"data={name} has images of {height}x{width}: sizes from {possible}")
    if channels not in CHANNELS:
        raise BadSetting(f"data={name} has images of {channels} channels: 1 (grey) and 3 (colour) are possible")
    if not MIN_CLASSES <= splits.classes <= MAX_CLASSES:
        found = "one class" if splits.classes == 1 else f"{splits.classes:,} classes"
        raise BadSetting(f"data={name} has {found}: {MIN_CLASSES} to {MAX_CLASSES:,} are possible")
    counts = torch.bincount(splits.train.labels, minlength=splits.classes)
    empty = [splits.class_names[label] for label in (counts == 0).nonzero().flatten().tolist()]
    if empty:
        raise BadSetting(f"data={name} has no training images of {of_classes(empty)}: leave them out")


def require_batches(images: int, network: NetworkSpec) -> None:
    """Raise `BadSetting` if a batch of the network, or of a teacher, is larger than the training set."""
    sizes = {"train.batch_size": network.recipe.batch_size} if network.recipe.epochs else {}
    for teacher in teachers_of(network):
        if teacher.recipe.epochs and teacher.uncompressed != network.uncompressed:
            largest = max(teacher.recipe.batch_size, sizes.get("teacher_train.batch_size", 0))
            sizes["teacher_train.batch_size"] = largest
    larger = {setting: size for setting, size in sizes.items() if size > images}
    if larger:
        said = " and ".join(f"{setting}={size}" for setting, size in larger.items())
        fitting = max(2, min(32, images // 4))
        typed = " ".join(f"{setting}={fitting}" for setting in larger)
        raise BadSetting(f"{said}: there are only {images} training images: type {typed}")


def teachers_of(network: NetworkSpec) -> Iterator[NetworkSpec]:
    """Yield the teachers of a network, and theirs."""
    for step in network.steps:
        for teacher in step.teachers:
            yield teacher
            yield from teachers_of(teacher)


def some(names: Sequence[str]) -> str:
    """Return the first few of `names`, and how many more there are: `cat, dog, fox and 4 more`."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(printable, names[:SHOWN])) + more


def of_classes(names: Sequence[str]) -> str:
    """Return `some` classes: `class cat`, `classes cat, dog, fox and 4 more`."""
    return f"{'class' if len(names) == 1 else 'classes'} {some(names)}"
