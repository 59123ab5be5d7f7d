"""What every data set is here: three splits of uint8 images and labels, each one tensor."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from kdbench.errors import DamagedFile


@dataclass(frozen=True)
class Split:
    """`images`: uint8 (n, channels, height, width), 0 to 255. `labels`: int64 (n,), from 0."""

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.dim() != 4 or not self.images.numel():
            raise DamagedFile(
                "images must be uint8 of shape (n, channels, height, width), not "
                f"{self.images.dtype} {tuple(self.images.shape)}"
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise DamagedFile(f"{len(self.images)} images need as many int64 labels")
        if self.labels.min() < 0:
            raise DamagedFile(f"labels count from 0: {int(self.labels.min())} is none")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: slice | Tensor) -> Split:
        return Split(self.images[index], self.labels[index])

    def evenly(self, count: int) -> Split:
        """Return so many of the images, from all over the split: many data sets are in the order of their classes."""
        return self if count >= len(self) else self[torch.arange(count) * len(self) // count]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width


@dataclass(frozen=True)
class Splits:
    """A data set. Training sees `train`, choices are made on `val`, and `test` is read once, at the end.

    `class_names` says how many classes there are; left out, those up to the largest label, called by their numbers.
    Of training images that are not `labelled`, the labels say nothing.
    Raises `DamagedFile` if the splits do not go together.
    """

    train: Split
    val: Split
    test: Split
    class_names: Sequence[str] = ()
    labelled: bool = True

    def __post_init__(self) -> None:
        splits = (self.train, self.val, self.test)
        if len({split.shape for split in splits}) > 1:
            raise DamagedFile(f"the images of the splits have several shapes: {[split.shape for split in splits]}")
        largest = max(int(split.labels.max()) for split in splits)
        if not self.class_names:
            object.__setattr__(self, "class_names", tuple(map(str, range(largest + 1))))
        if largest >= self.classes:
            raise DamagedFile(f"labels must lie between 0 and {self.classes - 1}: {largest} does not")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return self.train.shape

    @property
    def without_test(self) -> Splits:
        """The same for whoever may not see test images: validation stands in their place."""
        return replace(self, test=self.val)

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @cached_property
    def fingerprint(self) -> str:
        """The first 16 hex digits of the SHA-256 over every image and label of the three splits."""
        digest = hashlib.sha256()
        for split in (self.train, self.val, self.test):
            digest.update(len(split).to_bytes(8, "little"))
            digest.update(split.images.contiguous().numpy())
            digest.update(split.labels.contiguous().numpy())
        return digest.hexdigest()[:16]

    @cached_property
    def pixel_statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Means and standard deviations of the training pixels, scaled to [0, 1], a channel at a time.

        From counts of grey levels, so exact.
        """
        levels = torch.arange(256, dtype=torch.float64) / 255
        means, deviations = [], []
        for channel in self.train.images.unbind(1):
            share = torch.bincount(channel.flatten(), minlength=256).double()
            share /= share.sum()
            mean = (share * levels).sum()
            means.append(float(mean))
            deviations.append(float((share * (levels - mean) ** 2).sum().sqrt()))
        return tuple(means), tuple(deviations)
