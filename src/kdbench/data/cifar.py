"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 45,000 / 5,000 / 10,000 photographs of 32x32, in Python's pickles."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdbench.data.published import Publication
from kdbench.data.splits import Split
from kdbench.errors import DamagedFile

# What an array consists of in a pickle, by module; anything else could run code.
OF_ARRAYS = {
    *(("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")),
    *(("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")),
}


@dataclass(frozen=True, kw_only=True)
class CIFAR(Publication):
    """Batches of images, the last of which is the test. `md5` are the sums that torchvision publishes."""

    batches: str  # the folder
    labels: str  # the key of the labels in a batch
    md5: Mapping[str, str]

    @property
    def folder(self) -> str:
        """Where torchvision puts the files."""
        return self.batches

    @property
    def files(self) -> Sequence[str]:
        """The batches to train on, then that of the test."""
        return tuple(self.md5)

    def read(self, paths: Mapping[str, Path]) -> tuple[Split, Split]:
        """Return the training and the test images."""
        *train, test = (batch(path, self.md5[name], self.labels) for name, path in paths.items())
        images, labels = (torch.cat(parts) for parts in zip(*train, strict=True))
        return Split(images, labels), Split(*test)


def batch(path: Path, md5: str, labels: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images (n, 3, 32, 32) and labels (n) of a file. Raises `DamagedFile`, naming it."""
    advice = f"replace it with the original {path.name}"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DamagedFile(f"{path} cannot be read ({error.strerror}): {advice}") from error
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise DamagedFile(f"{path} is truncated or altered (its MD5 is not the published one): {advice}")
    try:
        found = Plain(io.BytesIO(content), encoding="latin1").load()
        images = np.asarray(found["data"], np.uint8).reshape(-1, 3, 32, 32)
        return torch.from_numpy(images.copy()), torch.tensor(found[labels], dtype=torch.int64)
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError) as error:
        raise DamagedFile(f"{path} does not hold a batch of images: {advice}") from error


class Plain(pickle.Unpickler):
    """Reads arrays and what is plain. An MD5 is no proof of who made a file, so nothing else in it is called."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what an array consists of. Raises `UnpicklingError` for anything else."""
        if (module, name) not in OF_ARRAYS:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of an array")
        return super().find_class(module, name)
