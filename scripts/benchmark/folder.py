"""A folder of pictures: how long it takes to read it once, and from the cache after that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

CLASSES, SIDE = 100, 32

# In a process of its own, as a run is; importing is not counted.
LOADER = """
import sys, time
from pathlib import Path
from kdbench.data import image_folder
began = time.perf_counter()
image_folder.load(Path(sys.argv[1]), Path(sys.argv[2]))
print(time.perf_counter() - began)
"""


def make(root: Path, count: int) -> None:
    """Write `count` PNG files of coloured noise, which takes a PNG the most bytes."""
    random = np.random.default_rng(0)
    for label in range(CLASSES):
        (root / f"{label:03}").mkdir(parents=True)
    for number in range(count):
        pixels = random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        Image.fromarray(pixels).save(root / f"{number % CLASSES:03}" / f"{number}.png")


def load(root: Path, cache: Path) -> float:
    """Return the seconds that it takes to load the folder."""
    ended = subprocess.run(
        [sys.executable, "-c", LOADER, str(root), str(cache)], capture_output=True, text=True, check=True
    )
    return float(ended.stdout)


def measure(folder: Path, count: int, rounds: int) -> dict[str, float]:
    """Return the medians over `rounds`, in seconds: read anew, and from the cache."""
    root = folder / "pictures"
    make(root, count)
    rounds_of = [[load(root, folder / f"cache-{number}") for _ in range(2)] for number in range(rounds)]
    return dict(zip(("read anew", "from the cache"), map(median, zip(*rounds_of, strict=True)), strict=True))
