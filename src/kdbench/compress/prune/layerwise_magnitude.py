"""Unstructured magnitude pruning with a threshold for each layer (Han et al. 2015)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from kdbench.compress.layers import weights
from kdbench.compress.prune import masks
from kdbench.compress.prune.one_shot import Sparse
from kdbench.compress.step import Task


@dataclass(frozen=True, kw_only=True)
class LayerwiseMagnitude(Sparse):
    """Zero the same share of each layer, at its smallest weights (Han et al. 2015, Learning both Weights and
    Connections, section 3; one share for all layers, where the paper has one threshold a layer, chosen by hand).

    The share is exact to one weight in each layer, except that a layer which would lose all of its weights keeps one,
    and the largest layer loses one more in its place.
    """

    def masks(self, network: nn.Module, task: Task) -> Mapping[str, Tensor]:
        """Return masks that keep the largest weights of each layer."""
        return masks.layer_by_layer(masks.magnitudes(weights(network)), self.sparsity)
