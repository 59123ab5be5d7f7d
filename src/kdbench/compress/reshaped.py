"""Networks whose layers came out of a step in other shapes than those of their model, as given weights."""

from __future__ import annotations

from pathlib import Path

from kdbench.compress.order import method_of
from kdbench.compress.step import NetworkStep
from kdbench.errors import BadSetting
from kdbench.models import weights_file
from kdbench.models.network import Network
from kdbench.settings import targets
from kdbench.settings.network import NetworkSpec, Node


def reshaping(network: NetworkSpec) -> list[Node]:
    """Return the methods after which layers have other shapes than those of the model, the earliest first."""
    before = weights_file.reshaped_by(network.weights) if network.weights else []
    return before + [step.method for step in network.steps if getattr(method_of(step), "changes_shapes", False)]


def shaped_like(network: Network, path: Path) -> Network:
    """Return a network, of whatever weights, shaped like those in the file `path`.

    Raises `BadSetting` if what the file names as having shaped it is no method, or may not be run.
    """
    nodes = weights_file.reshaped_by(path)
    if not nodes:
        return network
    shapes = {name: tensor.shape for name, tensor in weights_file.read(path).items()}
    for node in nodes:
        target = targets.target_of(node, f"weights={path}")
        if not (isinstance(target, type) and issubclass(target, NetworkStep)):  # the file may come from anyone
            raise BadSetting(f"weights={path}: {node['_target_']}, which shaped it, is no method of compression")
        shaped = targets.instantiate(node, f"weights={path}").architecture(network, shapes)
        network = shaped if isinstance(shaped, Network) else network
    return network
