"""Folders of small pictures for tests."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def picture(number: int, side: int = 8, colour: bool = False) -> Image.Image:
    """A picture of noise, another for each number."""
    shape = (side, side, 3) if colour else (side, side)
    return Image.fromarray(np.random.default_rng([number, side, colour]).integers(0, 256, shape, np.uint8))


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def make(root: Path, counts: Mapping[str, int], *, start: int = 0, colour: bool = False) -> Path:
    """Make folders by their path under `root`, with as many pictures, no two of them alike."""
    number = start
    for name, count in counts.items():
        folder = root / name
        folder.mkdir(parents=True)
        for _ in range(count):
            (folder / f"{number}.png").write_bytes(encoded(picture(number, colour=colour)))
            number += 1
    return root
