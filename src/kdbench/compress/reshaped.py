"""Networks whose layers came out of a step in other shapes than those of their model, as given weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kdbench.compress.step import NetworkStep
from kdbench.errors import BadSetting
from kdbench.models.network import MOST_BYTES, Network
from kdbench.settings import targets
from kdbench.settings.earlier_run import shaped_by
from kdbench.settings.network import Node


def gives_other_layers(method: NetworkStep) -> bool:
    """Whether the network that a method makes may have other layers than the one before."""
    return type(method).architecture is not NetworkStep.architecture


def shaping(method: NetworkStep, node: Node, network: nn.Module) -> list[dict[str, Any]]:
    """Return what a file of the weights of `network`, which `method` made, has to say of it: nothing, as a rule."""
    if not gives_other_layers(method):
        return []
    shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    return [{"method": node, "shapes": shapes}]


def shaped_like(network: Network, path: Path) -> Network:
    """Return a network, of whatever weights, shaped like those in the file `path`.

    Raises `BadSetting` if what the file names as having shaped it is no method, may not be run, or gives no network.
    """
    for one in shaped_by(path):
        node, what = one["method"], f"weights={path}"
        target = targets.target_of(node, what)
        if not (isinstance(target, type) and issubclass(target, NetworkStep)):  # the file may come from anyone
            raise BadSetting(f"{what}: {node['_target_']}, which shaped it, is no method of compression")
        try:
            shaped = targets.instantiate(node, what).architecture(network, sizes(one["shapes"]))
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise BadSetting(f"{what}: {target.__name__} cannot make the layers that it holds ({error})") from error
        if not isinstance(shaped, Network):
            raise BadSetting(f"{what}: {target.__name__}, which shaped it, gives no network")
        network = shaped
    return network


def sizes(shapes: Mapping[str, Any]) -> dict[str, torch.Size]:
    """Return the shapes of weights. Raises `ValueError` for those that no file could hold."""
    found = {name: torch.Size(map(int, shape)) for name, shape in shapes.items()}
    if any(4 * math.prod(max(size, 1) for size in shape) > MOST_BYTES for shape in found.values()):
        raise ValueError("they are too large")
    return found
