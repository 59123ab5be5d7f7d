"""Unstructured magnitude pruning with one threshold for the whole network (Han et al. 2015)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from kdbench.compress.layers import weights
from kdbench.compress.prune import masks
from kdbench.compress.prune.one_shot import Sparse
from kdbench.compress.step import Task


@dataclass(frozen=True, kw_only=True)
class GlobalMagnitude(Sparse):
    """Zero the smallest weights of the whole network (Han et al. 2015, Learning both Weights and Connections,
    section 3, with one threshold for all layers).
    """

    def masks(self, network: nn.Module, task: Task) -> Mapping[str, Tensor]:
        """Return masks that keep the largest of all weights."""
        return masks.over_the_network(masks.magnitudes(weights(network)), self.sparsity)
