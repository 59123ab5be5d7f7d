"""Images made of the training set, for a teacher to answer (Bucila et al. 2006, section 3).

Their labels are those of the images that they were made of, which need not be what they show, so they do not count:
a student learns from its teacher alone (`compress.alpha=0`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kdbench.data.splits import Split, Splits
from kdbench.settings import checks

NEIGHBOURS_AT_ONCE = 1_000  # images whose distances to all are held in memory
PASSES_AT_ONCE = 16  # over the training set


def noise(root: Path | None, cache: Path, images: int, seed: int, source: Splits) -> Splits:
    """Return `images` of which every pixel is drawn from 0 to 255 alike."""
    random, count = started(images, seed)
    made = torch.randint(256, (count, *source.shape), generator=random, dtype=torch.uint8)
    return with_images(source, made, torch.randint(len(source.train), (count,), generator=random))


def resampled(root: Path | None, cache: Path, images: int, seed: int, source: Splits) -> Splits:
    """Return `images` of which every pixel is that of some training image, drawn anew for each pixel.

    So each pixel has its own distribution, and no two have anything to do with each other (RANDOM in the paper).
    """
    random, count = started(images, seed)
    own = source.train.images.flatten(1)
    made = torch.empty(count, own.shape[1], dtype=torch.uint8)
    for pixel in range(own.shape[1]):
        made[:, pixel] = own[torch.randint(len(own), (count,), generator=random), pixel]
    return with_images(source, made.view(count, *source.shape), torch.randint(len(own), (count,), generator=random))


def munge(
    root: Path | None, cache: Path, images: int, swap: float, spread: float, seed: int, source: Splits
) -> Splits:
    """Return `images` made by MUNGE (algorithm 1 of the paper): passes that each change all of the training set.

    Of an image and its nearest neighbour, every pixel is exchanged with probability `swap` (p in the paper), with
    normal noise of deviation `|difference| / spread` (s). Both keep what they got, and so go on into later exchanges
    of the pass.
    """
    _, count = started(images, seed)
    checks.real("compress.transfer swap", swap, "(0, 1]")
    checks.real("compress.transfer spread", spread, "(0, inf)")
    own = source.train.images.flatten(1)
    neighbours = nearest(own)
    random = np.random.default_rng(seed)
    parts = []
    for begin in range(0, count, PASSES_AT_ONCE * len(own)):
        passes = min(PASSES_AT_ONCE, -(-(count - begin) // len(own)))
        parts.append(torch.from_numpy(munged(own.numpy(), neighbours.numpy(), passes, swap, spread, random)))
    made = torch.cat(parts).flatten(0, 1)
    chosen = torch.arange(count) * len(made) // count  # of all images, whatever their order
    return with_images(source, made[chosen].view(count, *source.shape), chosen % len(own))


def munged(
    own: np.ndarray, neighbours: np.ndarray, passes: int, swap: float, spread: float, random: np.random.Generator
) -> np.ndarray:
    """Return `passes` changed copies of all images, uint8 (passes, n, pixels), each by itself.

    `own`: uint8 (n, pixels); `neighbours`: (n,).
    """
    copies = np.repeat(own[None].astype(np.float32), passes, 0)
    for image, neighbour in enumerate(neighbours):
        here, there = copies[:, image], copies[:, neighbour]
        exchanged = random.random(here.shape, np.float32) < swap
        deviation = np.abs(here - there) / np.float32(spread)
        first, second = random.standard_normal((2, *here.shape), np.float32) * deviation
        copies[:, image], copies[:, neighbour] = (
            np.where(exchanged, there + first, here),
            np.where(exchanged, here + second, there),
        )
    return np.rint(copies.clip(0, 255)).astype(np.uint8)


def nearest(images: Tensor) -> Tensor:
    """Return for each image, uint8 (n, pixels), the index of the nearest other one by Euclidean distance, (n,)."""
    pixels = images.float() / 255
    found = []
    for begin in range(0, len(pixels), NEIGHBOURS_AT_ONCE):
        part = pixels[begin : begin + NEIGHBOURS_AT_ONCE]
        distances = torch.cdist(part, pixels)
        distances[torch.arange(len(part)), begin + torch.arange(len(part))] = torch.inf
        found.append(distances.argmin(1))
    return torch.cat(found)


def started(images: int, seed: int) -> tuple[torch.Generator, int]:
    """Return what random numbers come from, and how many images are wanted. Raises `BadSetting`."""
    checks.whole("compress.transfer images", images, 1)
    checks.whole("compress.transfer seed", seed, 0)
    return torch.Generator().manual_seed(seed), images


def with_images(source: Splits, images: Tensor, made_of: Tensor) -> Splits:
    """Return the data with these images to train on, under the labels of those that they were made of."""
    return replace(source, train=Split(images, source.train.labels[made_of]), labelled=False)
