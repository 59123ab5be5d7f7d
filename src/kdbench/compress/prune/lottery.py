"""Lottery tickets: iterative magnitude pruning, with what is left rewound to its initial weights (Frankle 2019)."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from kdbench.compress.layers import weights
from kdbench.compress.prune import masks
from kdbench.compress.prune.unstructured import Unstructured
from kdbench.compress.step import Task
from kdbench.settings import checks
from kdbench.training.constraints import KeepZeros

INITIAL, ANOTHER = "initial", "another"
LAYER, NETWORK = "layer", "network"
APART = 2_000_000  # from the seed of the run to that of the other initialisation


@dataclass(frozen=True)
class Lottery(Unstructured):
    """Prune, rewind, train, and again, until `sparsity` is reached.

    Frankle and Carbin 2019 (The Lottery Ticket Hypothesis, section 1, and appendix B): each round prunes a share
    `rate` of the weights that are left, those that ended smallest, sets the others back to their initial values, and
    trains as long as at first. The network that the step is given counts as the first training. Weights that an
    earlier step has set to zero count, and are the first that go; where it set more, all stay.
    """

    sparsity: float  # share of the prunable weights that are zero in the end, in [0, 1); exact to one weight
    rate: float  # share of what is left that each round prunes, at most; rounds are alike
    across: str  # `layer`: the same share of each, of the last (see `zeros_by_layer`) less; `network`: one threshold
    # Where the last training begins: at the `initial` weights, or at those of `another` seed, the control.
    rewind: str

    rewinds: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.real("compress.sparsity", self.sparsity, "[0, 1)")
        checks.real("compress.rate", self.rate, "(0, 1)")
        checks.one_of("compress.across", self.across, [LAYER, NETWORK])
        checks.one_of("compress.rewind", self.rewind, [INITIAL, ANOTHER])

    @property
    def rounds(self) -> int:
        """How often it prunes: at least once."""
        return max(1, math.ceil(math.log1p(-self.sparsity) / math.log1p(-self.rate) - 1e-9))

    def __call__(self, model: nn.Module, task: Task) -> nn.Module:
        """Return the ticket, trained."""
        trained = copy.deepcopy(model)
        for number in range(1, self.rounds + 1):
            zeros = KeepZeros(self.masks(trained, number))
            another = self.rewind == ANOTHER and number == self.rounds
            trained = task.another(task.seed + APART) if another else task.initial
            zeros.apply(trained, 0, 0)
            task.fit(trained, constraint=zeros)
        return trained

    def masks(self, trained: nn.Module, number: int) -> Mapping[str, Tensor]:
        """Return masks for the round `number`, from 1, of the weights that the last training ended with."""
        scores = masks.magnitudes(weights(trained))
        left = (1 - self.sparsity) ** (number / self.rounds)
        if self.across == NETWORK or len(scores) == 1:
            return masks.over_the_network(scores, 1 - left)
        counts = zeros_by_layer([score.numel() for score in scores.values()], left, self.rate)
        zeros = [int((score < 0).sum()) for score in scores.values()]
        return masks.in_each(scores, masks.at_least(zeros, counts))


def zeros_by_layer(sizes: Sequence[int], left: float, rate: float) -> list[int]:
    """Return how many weights of each layer are zero where a share `left` of all is not, exact to one weight.

    The same share of each, but fewer of the last, as if `rate` had been halved for it (Frankle and Carbin 2019,
    section 2): `x` of it are left, and `x ** halved` of the others. Where it holds most of the weights, the others
    would have next to none left by that, and it is pruned as they are. In each layer one at least is left, as long as
    there are so many.
    """
    *others, last = sizes
    total = round((1 - left) * sum(sizes))
    if last > sum(others):
        return masks.with_one_left(masks.shared_out(total, sizes), sizes)
    halved = math.log1p(-rate) / math.log1p(-rate / 2)
    low, high = 0.0, 1.0
    for _ in range(60):
        share = (low + high) / 2
        many = sum(others) * share**halved + last * share > left * sum(sizes)
        low, high = (low, share) if many else (share, high)
    zeros = min(round((1 - high) * last), total)
    return masks.with_one_left([*masks.shared_out(total - zeros, others), zeros], sizes)
