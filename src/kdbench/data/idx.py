"""Data sets in IDX files, the format MNIST is published in: read from bytes that have been checked first."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from kdbench.data.published import Publication
from kdbench.data.splits import Split
from kdbench.errors import DamagedFile

HEADER_BYTES = 4  # what it holds before the sizes, and each of these
SIDE = 28


@dataclass(frozen=True, kw_only=True)
class LikeMNIST(Publication):
    """Four IDX files, plain or gzipped: 60,000 training and 10,000 test images of 28x28.

    `sha256` are sums of the decompressed files, however they are compressed here; or, if `packed`, of the gzipped
    files, which alone are read then. `namesakes` are sums of other data sets' decompressed files of the same names.
    """

    sha256: Mapping[str, str]
    packed: bool = False
    namesakes: Collection[str] = ()
    train: int = 60_000
    test: int = 10_000
    endings: ClassVar[Sequence[str]] = ("", ".gz")

    @property
    def folder(self) -> str:
        """Where torchvision puts the files."""
        return f"{self.torchvision_name}/raw"

    @property
    def files(self) -> Sequence[str]:
        """The images and labels to train on, and of the test."""
        return tuple(self.sha256)

    def find(self, root: Path) -> dict[str, Path]:
        """Return the paths of those files that are there. Raises `DamagedFile` for one that cannot be checked."""
        found = super().find(root)
        if not self.packed:
            return found
        for name, path in found.items():
            original = path.with_name(f"{name}.gz")
            if not original.is_file():
                raise DamagedFile(f"{path} cannot be checked: put the original {name}.gz, which can be, beside it")
            found[name] = original
        return found

    def read(self, paths: Mapping[str, Path]) -> tuple[Split, Split]:
        """Return the training and the test images."""
        arrays = []
        for name, path in paths.items():
            count = self.train if name.startswith("train") else self.test
            shape = (count, SIDE, SIDE) if "images" in name else (count,)
            arrays.append(read(path, shape, self.sha256[name], self.packed, self.namesakes))
        return Split(arrays[0].unsqueeze(1), arrays[1].long()), Split(arrays[2].unsqueeze(1), arrays[3].long())


def read(
    path: Path, shape: tuple[int, ...], sha256: str, packed: bool = False, namesakes: Collection[str] = ()
) -> Tensor:
    """Return the uint8 array of an IDX file as a tensor of `shape`; the other arguments are those of `LikeMNIST`.

    Raises `DamagedFile`, naming the file, on anything else than exactly that array.
    """
    advice = f"replace it with the original {path.name}"
    try:
        raw = path.read_bytes()
        content = unpacked(raw, shape) if path.suffix == ".gz" else raw
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DamagedFile(f"{path} is truncated or altered ({error}): {advice}") from error
    except OSError as error:
        raise DamagedFile(f"{path} cannot be read ({error.strerror}): {advice}") from error
    if hashlib.sha256(content).hexdigest() in namesakes:
        raise DamagedFile(f"{path} belongs to another data set, whose files bear the same names: {advice}")
    if hashlib.sha256(raw if packed else content).hexdigest() != sha256:
        raise DamagedFile(f"{path} is truncated or altered (its SHA-256 is not the published one): {advice}")
    try:
        return array(content, shape)
    except DamagedFile as error:
        raise DamagedFile(f"{path} {error}: {advice}") from error


def unpacked(raw: bytes, shape: tuple[int, ...]) -> bytes:
    """Return the gzipped IDX array of `shape`, and no more than one byte beyond it.

    By that byte it is seen that there is more: a small file could hold any number of zeros.
    """
    return gzip.GzipFile(fileobj=io.BytesIO(raw)).read(HEADER_BYTES * (1 + len(shape)) + int(np.prod(shape)) + 1)


def array(content: bytes, shape: tuple[int, ...]) -> Tensor:
    """Return the IDX array of `shape` that is all of `content`. Raises `DamagedFile`."""
    # Header: two zero bytes, type 8 (unsigned byte), number of dimensions, then each dimension, big-endian.
    header = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
    if content[: len(header)] != header or len(content) != len(header) + int(np.prod(shape)):
        raise DamagedFile(f"does not hold {'x'.join(map(str, shape))} bytes in IDX format")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape).copy())
