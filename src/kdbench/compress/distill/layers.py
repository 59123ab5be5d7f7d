"""Which layers of two networks are compared: those that were named, or else the ones at like places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from kdbench.errors import BadSetting
from kdbench.training import features

Shape = tuple[int, ...]


def stages(network: nn.Module, image_shape: Sequence[int], whose: str) -> dict[str, Shape]:
    """Return the last layer of each run of layers that give one shape, but for the logits, in order: name to shape.

    Raises `BadSetting`, with `whose` network it is, if it has none: one that is an ONNX file shows no layers.
    """
    found: dict[str, Shape] = {}
    before: Shape = ()
    shapes = features.shapes(network, image_shape)
    for name, shape in shapes.items():
        if shape == before:
            found.popitem()
        found[name] = before = shape
    if found:
        found.popitem()  # the logits
    if not found:
        raise BadSetting(f"the {whose} shows no layers to compare: it is a file, or has none before its logits")
    return found


def middle(network: nn.Module, image_shape: Sequence[int], named: object, whose: str) -> tuple[str, Shape]:
    """Return name and shape of the layer `named`, or, if that is None, of the one halfway to the logits."""
    known = stages(network, image_shape, whose)
    return chosen(network, image_shape, named) if named is not None else list(known.items())[(len(known) - 1) // 2]


def last(network: nn.Module, image_shape: Sequence[int], named: object, whose: str) -> tuple[str, Shape]:
    """Return name and shape of the layer `named`, or, if that is None, of the last one before the logits."""
    known = stages(network, image_shape, whose)
    return chosen(network, image_shape, named) if named is not None else list(known.items())[-1]


def chosen(network: nn.Module, image_shape: Sequence[int], named: object) -> tuple[str, Shape]:
    """Return name and shape of a layer. Raises `BadSetting`, with the names that there are, if there is none."""
    name = str(named)  # names may be numbers, which YAML reads as such
    features.submodule(network, name)
    shapes: Mapping[str, Shape] = features.shapes(network, image_shape)
    if name not in shapes:
        raise BadSetting(f"layer {name} gives no single tensor: choose from {', '.join(shapes)}")
    return name, shapes[name]
