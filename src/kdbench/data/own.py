"""The training set of the run itself, or some of its images, as a part of what a student learns from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kdbench.data.splits import Splits
from kdbench.errors import BadSetting
from kdbench.settings import checks


def load(root: Path | None, cache: Path, images: int | None, source: Splits) -> Splits:
    """Return `source` with so many `images` to train on; None: all."""
    if images is None:
        return source
    checks.whole("compress.transfer images", images, 1)
    if images > len(source.train):
        raise BadSetting(f"compress.transfer: there are {len(source.train)} training images, and not {images}")
    return replace(source, train=source.train.evenly(images))
