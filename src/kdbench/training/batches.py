"""The training set as one tensor on the training device; a batch is an index into it, shifts included."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kdbench.data.splits import Split


@dataclass(frozen=True)
class Batch:
    """`images`: float32 (n, 1, 28, 28) in [0, 1]. `labels`, `index`: int64 (n,); `index` is that in the split.

    Batches of one `view` show an image in one way: 0 is as it is, e > 0 is as epoch e shifts it.
    """

    images: Tensor
    labels: Tensor
    index: Tensor
    view: int = 0


class Batches:
    """Epochs over a split, in orders and with shifts that the seed and the number of the epoch alone decide.

    `shift` is the largest move in pixels, in x and y; what moves in is black. Every epoch uses each image
    once, in batches whose sizes differ by at most one, so that none is too small for batch norm.
    """

    def __init__(self, split: Split, size: int, shift: int, seed: int, device: str) -> None:
        self.labels = split.labels.to(device)
        padded = F.pad(split.images[:, 0].to(device), (shift,) * 4)
        # windows[i, dy, dx] is image i moved by (shift - dy, shift - dx): a view, no copy.
        self.windows = padded.unfold(1, 28, 1).unfold(2, 28, 1)
        self.shift = shift
        self.seed = seed
        self.steps = -(-len(split) // size)

    def epoch(self, number: int, skip: int = 0) -> Iterator[Batch]:
        """Yield the batches of epoch `number`, counted from 1, but the first `skip`."""
        order, offsets = self.drawn(number)
        return self.moved(order, offsets, number, skip)

    def in_order(self, view: int) -> Iterator[Batch]:
        """Yield the images as `view` shows them, in the order of the split."""
        return self.moved(torch.arange(len(self.labels)), self.drawn(view)[1], view)

    def drawn(self, number: int) -> tuple[Tensor, Tensor]:
        """Return an order (n,), and for each image of the split how it is moved (2, n)."""
        state = np.random.SeedSequence([self.seed, number]).generate_state(1, np.uint64)
        random = torch.Generator().manual_seed(int(state[0]))
        count = len(self.labels)
        order = torch.randperm(count, generator=random)
        return order, torch.randint(2 * self.shift + 1, (2, count), generator=random)

    def moved(self, order: Tensor, offsets: Tensor, number: int, skip: int = 0) -> Iterator[Batch]:
        """Yield batches in `order`, each image moved by its own of the `offsets`, but the first `skip`."""
        device = self.labels.device
        parts = torch.stack([order, *offsets[:, order]]).to(device).tensor_split(self.steps, dim=1)
        for index, dy, dx in parts[skip:]:
            images = scaled(self.windows[index, dy, dx].unsqueeze(1))
            yield Batch(images, self.labels[index], index, number if self.shift else 0)


def plain(split: Split, size: int, device: str) -> Iterator[Batch]:
    """Yield the whole split once, in its own order, unshifted."""
    for index in torch.arange(len(split)).split(size):
        yield Batch(scaled(split.images[index].to(device)), split.labels[index].to(device), index.to(device))


def scaled(images: Tensor) -> Tensor:
    """Grey levels 0 to 255 as float32 in [0, 1]."""
    return images.float().div_(255)
