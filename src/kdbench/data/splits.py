"""What every data set is here: three splits of uint8 images and labels, each one tensor."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from kdbench.errors import DamagedFile

CLASSES = 10


@dataclass(frozen=True)
class Split:
    """`images`: uint8 (n, 1, 28, 28), grey levels 0 to 255. `labels`: int64 (n,), 0 to 9."""

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.shape[1:] != (1, 28, 28) or not len(self.images):
            raise DamagedFile(
                f"images must be uint8 of shape (n, 1, 28, 28), not {self.images.dtype} {tuple(self.images.shape)}"
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise DamagedFile(f"{len(self.images)} images need as many int64 labels")
        if self.labels.min() < 0 or self.labels.max() >= CLASSES:
            raise DamagedFile(f"labels must lie between 0 and {CLASSES - 1}")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: slice | Tensor) -> Split:
        return Split(self.images[index], self.labels[index])


@dataclass(frozen=True)
class Splits:
    """A data set. Training sees `train`, choices are made on `val`, and `test` is read once, at the end."""

    train: Split
    val: Split
    test: Split

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
    def pixel_statistics(self) -> tuple[float, float]:
        """Mean and standard deviation of the training pixels, scaled to [0, 1]; from grey-level counts, so exact."""
        levels = torch.arange(256, dtype=torch.float64) / 255
        share = torch.bincount(self.train.images.flatten(), minlength=256).double()
        share /= share.sum()
        mean = (share * levels).sum()
        deviation = (share * (levels - mean) ** 2).sum().sqrt()
        return float(mean), float(deviation)
