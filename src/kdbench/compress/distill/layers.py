"""Which layers of two networks are compared: those that were named, or else the ones at like places."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from torch import nn

from kdbench.errors import BadSetting
from kdbench.training import features

Shape = tuple[int, ...]
Layer = tuple[str, Shape]
"""Its name, and the shape of what it gives for one image."""


def stages(network: nn.Module, image_shape: Sequence[int], whose: str) -> dict[str, Shape]:
    """Return the last layer of each stage, but for the logits, in the order in which they run: name to shape.

    A stage begins with a layer that has weights and gives another shape than the stage before; pooling, flattening
    and activations belong to the stage that they follow. What runs before all weights is none: nothing could learn to
    change it. Raises `BadSetting`, with `whose` network it is, if it has none, as an ONNX file.
    """
    weighted = names_with_weights(network)
    found: dict[str, Shape] = {}
    for name, shape in after_weights(network, features.shapes(network, image_shape)).items():
        if found and (name not in weighted or shape == next(reversed(found.values()))):
            found.popitem()
        found[name] = shape
    if found:
        found.popitem()  # the logits
    if not found:
        raise BadSetting(f"the {whose} shows no layers to compare: it is a file, or has none before its logits")
    return found


def after_weights(network: nn.Module, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """Return those of the layers in `shapes`, in their order, that have weights or run after some."""
    weighted = names_with_weights(network)
    return dict(itertools.dropwhile(lambda layer: layer[0] not in weighted, shapes.items()))


def names_with_weights(network: nn.Module) -> set[str]:
    """Return the names of the layers that have parameters, their own or those of layers inside."""
    return {
        name for name, module in features.model_of(network).named_modules() if any(True for _ in module.parameters())
    }


def middle(network: nn.Module, image_shape: Sequence[int], named: object, whose: str) -> Layer:
    """Return name and shape of the layer `named`, or, if that is None, of the one halfway to the logits."""
    known = list(stages(network, image_shape, whose).items())
    return chosen(network, image_shape, named) if named is not None else known[(len(known) - 1) // 2]


def last(network: nn.Module, image_shape: Sequence[int], named: object, whose: str) -> Layer:
    """Return name and shape of the layer `named`, or, if that is None, of the last one before the logits."""
    known = list(stages(network, image_shape, whose).items())
    return chosen(network, image_shape, named) if named is not None else known[-1]


def chosen(network: nn.Module, image_shape: Sequence[int], named: object) -> Layer:
    """Return name and shape of a layer. Raises `BadSetting`, with the names that there are, if there is none."""
    name = str(named)  # names may be numbers, which YAML reads as such
    features.submodule(network, name)
    shapes: Mapping[str, Shape] = features.shapes(network, image_shape)
    if name not in shapes:
        raise BadSetting(f"layer {name} gives no single tensor: choose from {', '.join(shapes)}")
    trained = after_weights(network, shapes)
    if name not in trained:
        raise BadSetting(f"layer {name} has no weights to be trained before it: choose from {', '.join(trained)}")
    return name, shapes[name]
