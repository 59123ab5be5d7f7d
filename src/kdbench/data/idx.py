"""Reading IDX files, the format MNIST is published in, from bytes that have been checked first."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kdbench.errors import DamagedFile

HEADER_BYTES = 4  # what it holds before the sizes, and each of these


def find(folder: Path, dataset: str, name: str, endings: Sequence[str] = ("", ".gz")) -> Path | None:
    """Return the file `name`, plain or gzipped, in `folder` or in `dataset`/raw under it, as torchvision lays it."""
    places = [folder, folder / dataset / "raw"]
    candidates = [place / (name + ending) for place in places for ending in endings]
    return next((path for path in candidates if path.is_file()), None)


def read(
    path: Path, shape: tuple[int, ...], sha256: str, packed: bool = False, namesakes: Collection[str] = ()
) -> Tensor:
    """Return the uint8 array of an IDX file as a tensor of `shape`.

    `sha256` is that of the decompressed bytes, or of the file as it is if it was `packed`. `namesakes` are the sums
    of other data sets' decompressed files, which bear the same names and have the same shapes.
    Raises `DamagedFile`, naming the file, on anything else than exactly that array.
    """
    advice = f"replace it with the original {path.name}"
    try:
        raw = path.read_bytes()
        # No more than is wanted, and one byte to see if there is more: a small file could hold any number of zeros.
        size = HEADER_BYTES * (1 + len(shape)) + int(np.prod(shape))
        content = gzip.GzipFile(fileobj=io.BytesIO(raw)).read(size + 1) if path.suffix == ".gz" else raw
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DamagedFile(f"{path} is truncated or altered ({error}): {advice}") from error
    except OSError as error:
        raise DamagedFile(f"{path} cannot be read ({error.strerror}): {advice}") from error
    if hashlib.sha256(content).hexdigest() in namesakes:
        raise DamagedFile(f"{path} belongs to another data set, whose files bear the same names: {advice}")
    if hashlib.sha256(raw if packed else content).hexdigest() != sha256:
        raise DamagedFile(f"{path} is truncated or altered (its SHA-256 is not the published one): {advice}")
    # Header: two zero bytes, type 8 (unsigned byte), number of dimensions, then each dimension, big-endian.
    header = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
    if content[: len(header)] != header or len(content) != len(header) + int(np.prod(shape)):
        raise DamagedFile(f"{path} does not hold {'x'.join(map(str, shape))} bytes in IDX format: {advice}")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape).copy())
