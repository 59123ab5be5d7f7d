"""The training set as one tensor on the training device; a batch is an index into it, shifts and flips included."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kdbench.data.splits import Split
from kdbench.storage import machine


@dataclass(frozen=True)
class View:
    """That a batch shows images of the training set in a known way: 0 is as they are, e > 0 as epoch e changes them.

    It holds for these very tensors only: who changes them, or puts others in their place, has images that nobody
    knows anything about.
    """

    number: int
    images: Tensor
    index: Tensor
    versions: tuple[int, int]  # of both, which torch counts up when they are changed in place

    @classmethod
    def of(cls, number: int, images: Tensor, index: Tensor) -> View:
        """Return that `images` and `index`, as they are now, show view `number`."""
        return cls(number, images, index, (images._version, index._version))


@dataclass(frozen=True)
class Batch:
    """`images`: float32 (n, channels, height, width) in [0, 1]. `labels`, `index`: int64 (n,), `index` in the split.

    `labels` may also be probabilities, float32 (n, classes), where a criterion's `prepare` mixes images.
    """

    images: Tensor
    labels: Tensor
    index: Tensor
    view: View | None = None

    @property
    def known_view(self) -> int | None:
        """The number of the view, if the images are still those that it was made of; else None."""
        view = self.view
        if view is None or view.images is not self.images or view.index is not self.index:
            return None
        return view.number if (self.images._version, self.index._version) == view.versions else None


class Batches:
    """Epochs over a split, in orders and with changes that the seed and the number of the epoch alone decide.

    `shift` is the largest move in pixels, in x and y; what moves in is black. With `flip`, half of the images are
    mirrored left to right, after they were moved. Every epoch uses each image once, in batches whose sizes differ by
    at most one, so that none is too small for batch norm. Unless they are `known`, batches have no view.
    """

    def __init__(
        self,
        split: Split,
        size: int,
        shift: int,
        seed: int,
        device: str,
        *,
        flip: bool = False,
        known: bool = True,
    ) -> None:
        self.labels = split.labels.to(device)
        self.windows = windows(split.images.to(device), shift)
        self.shift = shift
        self.flip = flip
        self.seed = seed
        self.known = known
        self.steps = -(-len(split) // size)

    def epoch(self, number: int, skip: int = 0) -> Iterator[Batch]:
        """Yield the batches of epoch `number`, counted from 1, but the first `skip`."""
        order, changes = self.drawn(number)
        return self.changed(order, changes, number, skip)

    def in_order(self, view: int) -> Iterator[Batch]:
        """Yield the images as `view` shows them, in the order of the split."""
        return self.changed(torch.arange(len(self.labels)), self.drawn(view)[1], view)

    def drawn(self, number: int) -> tuple[Tensor, Tensor]:
        """Return an order (n,), and for each image how it is moved, in y and x, and whether it is mirrored (3, n)."""
        state = np.random.SeedSequence([self.seed, number]).generate_state(1, np.uint64)
        random = torch.Generator().manual_seed(int(state[0]))
        count = len(self.labels)
        order = torch.randperm(count, generator=random)
        offsets = torch.randint(2 * self.shift + 1, (2, count), generator=random)
        # Drawn last, so that what is drawn before does not depend on it.
        mirrored = torch.randint(2, (1, count), generator=random) if self.flip else torch.zeros(1, count).long()
        return order, torch.cat([offsets, mirrored])

    def changed(self, order: Tensor, changes: Tensor, number: int, skip: int = 0) -> Iterator[Batch]:
        """Yield batches in `order`, each image changed as is said for it in `changes`, but the first `skip`."""
        device = self.labels.device
        parts = torch.stack([order, *changes[:, order]]).to(device).tensor_split(self.steps, dim=1)
        for index, dy, dx, mirrored in parts[skip:]:
            machine.stand_still()
            shown = self.windows[index, dy, dx]
            if self.flip:
                shown = torch.where(mirrored.bool().view(-1, 1, 1, 1), shown.flip(-1), shown)
            images = scaled(shown)
            view = View.of(number if self.shift or self.flip else 0, images, index) if self.known else None
            yield Batch(images, self.labels[index], index, view)


def plain(split: Split, size: int, device: str) -> Iterator[Batch]:
    """Yield the whole split once, in its own order, unchanged."""
    for index in torch.arange(len(split)).split(size):
        machine.stand_still()
        yield Batch(scaled(split.images[index].to(device)), split.labels[index].to(device), index.to(device))


def windows(images: Tensor, shift: int) -> Tensor:
    """Return a view in which [i, dy, dx] is image i moved by (shift - dy, shift - dx); what moves in is black.

    `images`: (n, channels, height, width).
    """
    height, width = images.shape[2:]
    return F.pad(images, (shift,) * 4).unfold(2, height, 1).unfold(3, width, 1).permute(0, 2, 3, 1, 4, 5)


def scaled(images: Tensor) -> Tensor:
    """Grey levels 0 to 255 as float32 in [0, 1]."""
    return images.float().div_(255)
