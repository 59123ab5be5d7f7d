"""Training under a bound on the weights of each unit (Srivastava et al. 2014, Dropout, section 5.1)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from kdbench.compress.layers import weight_names
from kdbench.compress.step import NetworkStep, Task
from kdbench.settings import checks
from kdbench.training.constraints import Constraint


@dataclass(frozen=True)
class MaxNorm(NetworkStep):
    """Train the network from scratch on the labels, with the incoming weights of each unit no longer than `limit`."""

    limit: float

    from_scratch: ClassVar[bool] = True
    compared: ClassVar[bool] = False

    def __post_init__(self) -> None:
        checks.real("compress.limit", self.limit, "(0, inf)")

    def __call__(self, model: nn.Module, task: Task) -> nn.Module:
        """Return the network."""
        network = copy.deepcopy(model)
        task.fit(network, constraint=ShortRows(weight_names(network), self.limit))
        return network


class ShortRows(Constraint):
    """The weights that lead into each unit, or channel, are no longer than `limit` (Euclidean)."""

    def __init__(self, names: Sequence[str], limit: float) -> None:
        self.names = names
        self.limit = limit

    @torch.no_grad()
    def apply(self, network: nn.Module, step: int, total: int) -> None:
        """Shorten what is longer."""
        for name in self.names:
            weight = network.get_parameter(name)
            length = torch.linalg.vector_norm(weight.flatten(1), dim=1)
            long = length > self.limit  # few, after the first steps
            if long.any():
                weight[long] *= (self.limit / length[long]).view(-1, *[1] * (weight.dim() - 1))
