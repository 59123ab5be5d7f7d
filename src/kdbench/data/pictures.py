"""Picture files, PNG and JPEG, as arrays of grey levels or colours."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from kdbench.storage import machine

MAX_PIXELS = 100_000_000  # of a picture by its header, above which it is not decoded
MAX_BYTES = 2**30  # of a file: more than so many pixels take uncompressed
FORMATS = ("PNG", "JPEG")
ORIENTED = {"exif", "xmp", "Raw profile type exif", "XML:com.adobe.xmp"}  # where Pillow finds an orientation
CHUNK = 64  # pictures that a thread reads in a row: one by one, handing over would take longer than reading


class Unreadable(Exception):  # noqa: N818 - reads as a sentence where it is raised
    """A picture cannot be read; the message is the reason, in a few words."""


class OtherSize(Unreadable):
    """A picture has another size than it should have; the message is that size."""


@dataclass(frozen=True)
class Picture:
    """`pixels`: uint8, (1, side, side) if all of it is grey, else (3, side, side). `sha256`: of the file."""

    pixels: np.ndarray
    sha256: bytes


def read_all(paths: Sequence[Path], side: int, *, resize: bool, grey: bool) -> Iterator[Picture | Unreadable]:
    """Yield each picture in the order of `paths`, or why there is none; see `decode`."""
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]

    def read_some(some: Sequence[Path]) -> list[Picture | Unreadable]:
        return [attempt(path, side, resize=resize, grey=grey) for path in some]

    # Threads are enough: Pillow decodes without Python's lock, and processes would take longer to start.
    workers = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        with quiet():
            for outcomes in workers.map(read_some, chunks):
                yield from outcomes
    finally:
        workers.shutdown(cancel_futures=True)


def attempt(path: Path, side: int, *, resize: bool, grey: bool) -> Picture | Unreadable:
    """Return the picture in the file `path`, or why there is none."""
    machine.stand_still()
    try:
        content = content_of(path)
        return Picture(decode(content, side, resize=resize, grey=grey), hashlib.sha256(content).digest())
    except Unreadable as reason:
        return reason


def content_of(path: Path) -> bytes:
    """Return the bytes of a file. Raises `Unreadable`."""
    try:
        if not path.is_file():  # a pipe would be waited for
            raise Unreadable(
                "it is no file"
                if path.exists()
                else "it leads nowhere"
                if path.is_symlink()
                else "there is no such file"
            )
        if path.stat().st_size > MAX_BYTES:
            raise Unreadable(f"it has more than {MAX_BYTES:,} bytes")
        return path.read_bytes()
    except OSError as error:
        raise Unreadable(error.strerror or type(error).__name__) from error


def decode(content: bytes, side: int, *, resize: bool, grey: bool = False) -> np.ndarray:
    """Return the pixels of a PNG or JPEG file: uint8, (1, side, side) if all of it is grey, else (3, side, side).

    It is turned as its EXIF orientation says, what is transparent is laid on white, and 16 bits are scaled to 8. With
    `resize` the whole picture is brought to a square (bilinear, antialiased), without it must be one. `grey` makes
    colours grey (ITU-R 601 luma). Raises `OtherSize`, and `Unreadable` for what is no picture, cut off, or larger
    than `MAX_PIXELS` by its header, before it is decoded.
    """
    image = opened(content)
    if not resize and image.size != (side, side):
        raise OtherSize(f"{image.width}x{image.height}")
    try:
        if resize:
            image.draft(None, (3 * side, 3 * side))  # JPEG: no more of its detail is computed than the resizing sees
        image.load()
        image = plain(upright(image))
        if grey and image.mode == "RGB":
            image = image.convert("L")
        if image.size != (side, side):
            image = image.resize((side, side), Image.Resampling.BILINEAR)
    except Exception as error:  # Pillow raises many kinds for what it cannot read
        raise Unreadable(in_words(error)) from error
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        return pixels[None]
    red, green, blue = pixels.transpose(2, 0, 1)
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return np.ascontiguousarray(red)[None]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def size_of(path: Path) -> tuple[int, int]:
    """Return width and height of the picture in a file, by its header. Raises `Unreadable`."""
    with quiet():
        return opened(content_of(path)).size


def opened(content: bytes) -> Image.Image:
    """Return a picture of which only the header has been read. Raises `Unreadable` for none, or one too large."""
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise Unreadable(f"it has more than {MAX_PIXELS:,} pixels") from error
    except UnidentifiedImageError as error:
        raise Unreadable("it is no PNG or JPEG" if content else "it is empty") from error
    except Exception as error:  # as above
        raise Unreadable(in_words(error)) from error
    if image.width * image.height > MAX_PIXELS:
        raise Unreadable(f"it has more than {MAX_PIXELS:,} pixels")
    return image


def upright(image: Image.Image) -> Image.Image:
    """Return a picture turned and mirrored as its EXIF orientation says."""
    if ORIENTED & image.info.keys():  # looking for it where there is none takes as long as decoding a small picture
        with contextlib.suppress(Exception):  # who shows pictures does not mind a broken one either
            return ImageOps.exif_transpose(image)
    return image


def plain(image: Image.Image) -> Image.Image:
    """Return a picture in grey levels (`L`) or in colours (`RGB`), of 8 bits."""
    if image.mode.startswith("I"):  # 16 bits
        levels = np.asarray(image).astype(np.int64)
        return Image.fromarray(((levels.clip(0, 65535) + 128) // 257).astype(np.uint8))
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """A context in which Pillow does not warn of what is said in words here, or does not matter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def in_words(error: Exception) -> str:
    """Return the reason that Pillow gives, as one line."""
    return " ".join(str(error).split()) or type(error).__name__
