"""The training set as one tensor on the training device; a batch is an index into it, shifts included."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kdbench.data.splits import Split


@dataclass(frozen=True)
class Batch:
    """`images`: float32 (n, 1, 28, 28) in [0, 1]. `labels`, `index`: int64 (n,); `index` is that in the split."""

    images: Tensor
    labels: Tensor
    index: Tensor


class Batches:
    """Epochs over a split, in an order and with shifts that the seed alone decides.

    `shift` is the largest move in pixels, in x and y; what moves in is black. Every epoch uses each image
    once, in batches whose sizes differ by at most one, so that none is too small for batch norm.
    """

    def __init__(self, split: Split, size: int, shift: int, seed: int, device: str) -> None:
        self.labels = split.labels.to(device)
        padded = F.pad(split.images[:, 0].to(device), (shift,) * 4)
        # windows[i, dy, dx] is image i moved by (shift - dy, shift - dx): a view, no copy.
        self.windows = padded.unfold(1, 28, 1).unfold(2, 28, 1)
        self.shift = shift
        self.device = device
        self.steps = -(-len(split) // size)
        self.random = torch.Generator().manual_seed(seed)

    def epoch(self) -> Iterator[Batch]:
        """Yield one epoch's batches."""
        count = len(self.labels)
        order = torch.randperm(count, generator=self.random).to(self.device)
        offsets = torch.randint(2 * self.shift + 1, (2, count), generator=self.random).to(self.device)
        for index, dy, dx in zip(
            order.tensor_split(self.steps),
            offsets[0].tensor_split(self.steps),
            offsets[1].tensor_split(self.steps),
            strict=True,
        ):
            yield Batch(scaled(self.windows[index, dy, dx].unsqueeze(1)), self.labels[index], index)


def plain(split: Split, size: int, device: str) -> Iterator[Batch]:
    """Yield the whole split once, in its own order, unshifted."""
    for index in torch.arange(len(split)).split(size):
        yield Batch(scaled(split.images[index].to(device)), split.labels[index].to(device), index.to(device))


def scaled(images: Tensor) -> Tensor:
    """Grey levels 0 to 255 as float32 in [0, 1]."""
    return images.float().div_(255)
