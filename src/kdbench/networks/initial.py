"""Networks before any training: as their seed, or the weights that were given, decide."""

from __future__ import annotations

from collections.abc import Sequence

from kdbench.compress.reshaped import shaped_like
from kdbench.models.network import Network, build
from kdbench.models.pretrained import load_weights
from kdbench.models.views import view
from kdbench.settings import normalisation
from kdbench.settings.network import NetworkSpec


def initialised(
    spec: NetworkSpec, shape: tuple[int, int, int], classes: int, pixels: tuple[Sequence[float], Sequence[float]]
) -> Network:
    """Return the network that is trained, or taken as it is: as its seed, or the weights that were given, decide.

    `pixels` are means and deviations of the training images, by which it normalises unless it has its own.
    """
    own = normalisation.statistics(spec.normalise) or pixels
    network = build(spec.model, spec.seed, shape, classes, own)
    network.view = view(spec.view, shape)
    if spec.weights is not None:
        network = shaped_like(network, spec.weights)
        load_weights(network, spec.weights, spec.name, spec.normalise, spec.weights_except)
    return network
