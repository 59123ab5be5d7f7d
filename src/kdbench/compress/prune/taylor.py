"""Gradual pruning by what a weight does to the loss, in place of its size (Molchanov et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdbench.compress.layers import weight_names
from kdbench.compress.prune.gradual import Gradual, RisingSparsity
from kdbench.errors import BadSetting

PREFIX = "scores."  # of their names in checkpoints, beside those of the masks


@dataclass(frozen=True)
class Taylor(Gradual):
    """As `Gradual`, but what goes first are the weights whose removal changes the loss least, to first order.

    The score of a weight is `(gradient x weight)²` (Molchanov et al. 2019, Importance Estimation for Neural Network
    Pruning, equation 8), summed over the steps since more was pruned last. Of each step it is the gradient that the
    step followed and the weight that it ended with.
    """

    def rising(self, network: nn.Module) -> RisingSparsity:
        """Return the constraint under which it is trained."""
        return RisingByTaylor(weight_names(network), self.sparsity, self.ramp)


class RisingByTaylor(RisingSparsity):
    """Adds up the scores, and prunes at the lowest."""

    def __init__(self, names: list[str], final: float, ramp: float) -> None:
        super().__init__(names, final, ramp)
        self.sums: dict[str, Tensor] = {}

    @torch.no_grad()
    def apply(self, network: nn.Module, step: int, total: int) -> None:
        """Add to the scores what this step's gradients say, then do as every gradual pruning."""
        for name in self.names:
            weight = network.get_parameter(name)
            if weight.grad is not None:
                score = (weight.grad * weight).square()
                before = self.sums.get(name)
                self.sums[name] = score if before is None else before.to(score.device).add_(score)
        super().apply(network, step, total)

    def scores(self, weights: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
        """Return the sums, and begin them anew. Raises `BadSetting` for weights that never had a gradient."""
        sums, self.sums = self.sums, {}
        missing = [name for name in weights if name not in sums]
        if missing:
            raise BadSetting(
                f"compress=prune_taylor goes by gradients, and {missing[0]} has none: its layer takes no part in the "
                "training; try compress=prune_gradual, which goes by the size of weights"
            )
        return {name: sums[name] for name in weights}

    def state(self) -> dict[str, Tensor]:
        """Return masks and sums."""
        return super().state() | {f"{PREFIX}{name}": score for name, score in self.sums.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take them back."""
        self.sums = {n.removeprefix(PREFIX): score for n, score in state.items() if n.startswith(PREFIX)}
        super().restore({name: mask for name, mask in state.items() if not name.startswith(PREFIX)})
