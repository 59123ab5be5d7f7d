"""Pruning at random: the control that every criterion has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdbench.compress.layers import weights
from kdbench.compress.prune import masks
from kdbench.compress.prune.one_shot import Sparse
from kdbench.compress.step import Task


@dataclass(frozen=True, kw_only=True)
class AtRandom(Sparse):
    """Zero a share of the network's weights, whichever they are (as Gale et al. 2019, The State of Sparsity)."""

    def masks(self, network: nn.Module, task: Task) -> Mapping[str, Tensor]:
        """Return masks drawn from the run's seed."""
        drawn = torch.Generator().manual_seed(task.seed)
        own = weights(network)
        scores = {name: torch.rand(weight.shape, generator=drawn) for name, weight in own.items()}
        return masks.over_the_network(masks.zeros_first(scores, own), self.sparsity)
