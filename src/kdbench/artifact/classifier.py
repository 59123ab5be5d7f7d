"""A file that ships as a function: images in, logits out, whatever kind of array they come as. Imports no torch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto

from kdbench.artifact.metadata import read
from kdbench.artifact.session import Session, session
from kdbench.errors import BadSetting, DamagedFile
from kdbench.models.onnx_graph import INPUT, OUTPUT, load
from kdbench.storage import checksums, durable

BATCH = 256  # as the test set is read: dynamic quantization scales activations by their range over the batch
RUN = "give the folder of one run, such as outputs/runs/mnist/NAME, or its model.onnx"


@dataclass(frozen=True)
class Classifier:
    """The network in the file `path`, to be called with images.

    `shape`: channels, height and width of an image. `class_names`: in the order of the logits. `polarity`: of the
    training images, `light on dark`, `dark on light` or `mixed`.
    """

    path: Path
    shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    polarity: str
    session: Session = field(repr=False, compare=False)

    def __call__(self, images: Any) -> np.ndarray:
        """Return the logits, float32 (n, classes).

        `images`: a NumPy array or a torch tensor, uint8 from 0 to 255 or floats in [0, 1], of shape (n, channels,
        height, width); or (channels, height, width), one image. Of a single channel the shape may lack it. Raises
        `BadSetting` for anything else.
        """
        pixels = as_pixels(images, self.shape)
        parts = [pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH)]
        if len(parts) < 2:
            return self.session(pixels) if parts else np.empty((0, len(self.class_names)), np.float32)
        with ThreadPoolExecutor() as pool:  # ONNX Runtime lets go of Python's lock
            return np.concatenate(list(pool.map(self.session, parts)))

    def predict(self, images: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the most likely class of each image, int64 (n,), and the probabilities of all, float64 (n, classes).

        `class_names[index]` is the name of a class; images are as for a call.
        """
        logits = self(images).astype(np.float64)
        odds = np.exp(logits - logits.max(1, keepdims=True))
        return logits.argmax(1), odds / odds.sum(1, keepdims=True)


def classifier(place: Path | str) -> Classifier:
    """Return the network that a run left in its folder, or in a file that was taken from there.

    Raises `DamagedFile` if the file is not what SHA256SUMS beside it says, or no network of kdbench, and `BadSetting`
    if there is none.
    """
    path = file_at(Path(place))
    try:
        known = checksums.parse_at(path.parent) if (path.parent / checksums.SUMS).is_file() else {}
        content = checksums.checked(path, known[path.name]) if path.name in known else durable.read(path)
        file = load(content)
        shape, classes = interface(file)
        description = read(file, classes)
    except DamagedFile as error:
        raise DamagedFile(f"{error.path or path}: {error}", error.path or path) from error
    try:
        run = session(content, 1)
    except Exception as error:  # whatever ONNX Runtime makes of a file that may come from anyone
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise DamagedFile(f"{path}: ONNX Runtime cannot run it ({reason[0]})", path) from error
    return Classifier(path, shape, description.class_names, description.polarity, run)


def file_at(place: Path) -> Path:
    """Return the file that `place` is, or that the run folder `place` holds. Raises `BadSetting`."""
    if place.is_file():
        return place
    if not place.is_dir():
        raise BadSetting(f"there is no {place}: {RUN}")
    files = sorted(place.glob("*.onnx"))
    if len(files) != 1:
        raise BadSetting(f"{place} holds {len(files) or 'no'} ONNX file{'s' * (len(files) > 1)}: {RUN}")
    return files[0]


def interface(file: ModelProto) -> tuple[tuple[int, int, int], int]:
    """Return the shape of an image that a file takes, and its number of classes. Raises `DamagedFile`."""
    stored = {tensor.name for tensor in file.graph.initializer}
    inputs = [value for value in file.graph.input if value.name not in stored]
    outputs = list(file.graph.output)
    sizes = [[one.dim_value for one in value.type.tensor_type.shape.dim] for value in (*inputs, *outputs)]
    kinds = {value.type.tensor_type.elem_type for value in (*inputs, *outputs)}
    named = [value.name for value in (*inputs, *outputs)] == [INPUT, OUTPUT] and kinds == {TensorProto.FLOAT}
    if not named or [len(size) for size in sizes] != [4, 2] or not all([*sizes[0][1:], sizes[1][1]]):
        raise DamagedFile("it is no file of kdbench, which takes float images and gives logits")
    channels, height, width = sizes[0][1:]
    return (channels, height, width), sizes[1][1]


def as_pixels(images: Any, shape: tuple[int, int, int]) -> np.ndarray:
    """Return `images` as the file takes them: float32 (n, *`shape`) in [0, 1]. Raises `BadSetting`."""
    if hasattr(images, "detach"):  # a tensor of torch
        images = images.detach().cpu()
        images = images.float() if images.is_floating_point() else images
    try:
        array = np.asarray(images)
    except ValueError as error:
        raise BadSetting(f"the images are no array: {error}") from error
    if array.ndim in (2, 3) and array.shape[-2:] == shape[1:] and shape[0] == 1:
        batch = array.reshape(len(array) if array.ndim == 3 else 1, *shape)
    else:
        batch = array[None] if array.ndim == 3 else array
    if batch.ndim != 4 or batch.shape[1:] != shape:
        size = ", ".join(map(str, shape))
        raise BadSetting(f"the images are of shape {array.shape}: the network takes (n, {size}), or one of ({size})")
    if batch.dtype == np.uint8:
        return batch.astype(np.float32) / np.float32(255)
    if not np.issubdtype(batch.dtype, np.floating):
        raise BadSetting(f"the images are {batch.dtype}: give uint8 from 0 to 255, or floats in [0, 1]")
    pixels = batch.astype(np.float32)
    if pixels.size and not (pixels.min() >= 0 and pixels.max() <= 1):  # NaN is neither
        raise BadSetting(
            f"the images reach from {pixels.min():g} to {pixels.max():g}: give floats in [0, 1], or uint8 to 255"
        )
    return pixels
