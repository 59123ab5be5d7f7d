"""What a file that ships says of itself, so that who has nothing but the file can feed it rightly. Imports no torch.

The keys of its ONNX metadata, each with the prefix `kdbench.`:

- `classes`: the names of the classes in the order of the logits, as a JSON list;
- `input`: what it takes, in words;
- `normalisation`: means and deviations of pixels in [0, 1] that the file itself normalises by, a channel at a time;
- `polarity`: `light on dark`, `dark on light` or `mixed`, of the training images;
- `border`: the mean brightness in [0, 1] of their outermost pixels.

No version and no date stands there: equal files are equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto

from kdbench.errors import DamagedFile
from kdbench.models.trained_on import CLASSES, PREFIX

POLARITY, BORDER = f"{PREFIX}polarity", f"{PREFIX}border"
LIGHT_ON_DARK, DARK_ON_LIGHT, MIXED = "light on dark", "dark on light", "mixed"
DARK, LIGHT = 1 / 3, 2 / 3  # borders below and above are plainly the one or the other
OTHER_GROUND = {LIGHT_ON_DARK: "light", DARK_ON_LIGHT: "dark"}  # the border of an image of the other polarity
NEARLY_ALL = 0.95  # of the training images have such a border, where they have a polarity


@dataclass(frozen=True)
class Description:
    """What of the data stands in a file."""

    class_names: tuple[str, ...]
    polarity: str
    border: float

    @classmethod
    def of(cls, images: np.ndarray, class_names: Sequence[str]) -> Description:
        """Return that of training images, uint8 (n, channels, height, width)."""
        borders = brightness_of_borders(images)
        return cls(tuple(class_names), polarity_of(borders), round(float(borders.mean()), 3))


def brightness_of_borders(images: np.ndarray) -> np.ndarray:
    """Return the mean of the outermost pixels of each image, float64 (n,) in [0, 1].

    `images`: uint8 (n, channels, height, width).
    """
    outermost = np.ones(images.shape[2:], bool)
    outermost[1:-1, 1:-1] = False
    return images[:, :, outermost].mean((1, 2)) / 255


def polarity_of(borders: np.ndarray) -> str:
    """Return what images with these brightnesses of borders are."""
    if (borders < DARK).mean() >= NEARLY_ALL:
        return LIGHT_ON_DARK
    return DARK_ON_LIGHT if (borders > LIGHT).mean() >= NEARLY_ALL else MIXED


def ground(image: np.ndarray) -> str | None:
    """Return whether the border of an image, uint8 (channels, height, width), is `light` or `dark`, or neither."""
    [border] = brightness_of_borders(image[None])
    return "dark" if border < DARK else "light" if border > LIGHT else None


def with_metadata(
    file: ModelProto, data: Description, normalisation: tuple[Sequence[float], Sequence[float]] | None
) -> ModelProto:
    """Return a copy of `file` that says what `data` it is for, and the means and deviations that it normalises by."""
    described = ModelProto()
    described.CopyFrom(file)
    others = [entry for entry in file.metadata_props if not entry.key.startswith(PREFIX)]
    del described.metadata_props[:]
    described.metadata_props.extend(others)
    size = " x ".join(str(dimension.dim_value) for dimension in file.graph.input[0].type.tensor_type.shape.dim[1:])
    texts = {
        CLASSES: compact(data.class_names),
        f"{PREFIX}input": f"float32 in [0, 1], batch x {size}",
        POLARITY: data.polarity,
        BORDER: f"{data.border:g}",
    }
    if normalisation is not None:
        means, deviations = ([float(f"{value:.6g}") for value in values] for values in normalisation)
        texts[f"{PREFIX}normalisation"] = compact({"means": means, "deviations": deviations})
    for key, text in texts.items():
        described.metadata_props.add(key=key, value=text)
    return described


def compact(value: object) -> str:
    """Return `value` as JSON without spaces; what is no Unicode, as names of folders may be, becomes a `?`."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace").decode()


def read(file: ModelProto, classes: int) -> Description:
    """Return what a file with so many `classes` says of its data; of one that says nothing, classes are numbers.

    Raises `DamagedFile` for what kdbench does not write: the file may come from anyone.
    """
    texts = {entry.key: entry.value for entry in file.metadata_props}
    try:
        names = json.loads(texts[CLASSES]) if CLASSES in texts else list(map(str, range(classes)))
        border = float(texts.get(BORDER, "nan"))
    except (ValueError, RecursionError) as error:
        raise DamagedFile(f"its metadata cannot be read ({error})") from error
    if not isinstance(names, list) or len(names) != classes or not all(isinstance(name, str) for name in names):
        raise DamagedFile(f"its metadata do not name {classes} classes")
    polarity = texts.get(POLARITY, MIXED)
    return Description(tuple(names), polarity if polarity in (LIGHT_ON_DARK, DARK_ON_LIGHT) else MIXED, border)
