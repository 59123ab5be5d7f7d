"""What must hold of a network's weights after every step of a training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Constraint(ABC):
    """Called after every step, it changes weights in place so that something holds of them again.

    It is a value of its own, not bound to a network: it finds weights by their names, so that it can go with a
    network into later trainings. What changes in it while it is applied is its `state`, which goes into checkpoints.
    """

    @abstractmethod
    def apply(self, network: nn.Module, step: int, total: int) -> None:
        """Make it hold in `network`, after the step number `step` of `total`, counted from 1.

        Parameters still have the gradients of that step.
        """

    def state(self) -> dict[str, Tensor]:
        """Return what it must have back to go on in the middle of a training."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027 - most have no state
        """Go back to a `state`."""


class KeepZeros(Constraint):
    """Weights that a mask hides stay zero. `masks`: 0 or 1, shaped like the weights, by the weights' names."""

    def __init__(self, masks: Mapping[str, Tensor]) -> None:
        self.masks = dict(masks)

    @classmethod
    def of(cls, network: nn.Module, names: list[str]) -> KeepZeros:
        """Return the constraint that the weights of these names which are zero now stay so."""
        return cls({name: (network.get_parameter(name).detach() != 0).float() for name in names})

    @torch.no_grad()
    def apply(self, network: nn.Module, step: int, total: int) -> None:
        """Set masked weights to zero."""
        for name, mask in self.masks.items():
            weight = network.get_parameter(name)
            if mask.device != weight.device:
                mask = self.masks[name] = mask.to(weight.device)
            weight.mul_(mask)

    def state(self) -> dict[str, Tensor]:
        """Return the masks."""
        return dict(self.masks)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take the masks back."""
        self.masks = dict(state)
