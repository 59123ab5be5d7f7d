"""Lottery tickets: iterative magnitude pruning, with what is left rewound to its initial weights (Frankle 2019)."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from kdbench.compress.layers import weight_names
from kdbench.compress.prune import masks
from kdbench.compress.step import NetworkStep, Task
from kdbench.settings import checks
from kdbench.training.constraints import KeepZeros

INITIAL, ANOTHER = "initial", "another"
LAYER, NETWORK = "layer", "network"
APART = 2_000_000  # from the seed of the run to that of the other initialisation


@dataclass(frozen=True)
class Lottery(NetworkStep):
    """Prune, rewind, train, and again, until `sparsity` is reached.

    Frankle and Carbin 2019 (The Lottery Ticket Hypothesis, section 1, and appendix B): each round prunes a share
    `rate` of the weights that are left, those that ended smallest, sets the others back to their initial values, and
    trains as long as at first. The network that the step is given counts as the first training.
    """

    sparsity: float  # share of the prunable weights that are zero in the end, in [0, 1); exact to one weight
    rate: float  # share of what is left that each round prunes, at most; rounds are alike
    across: str  # `layer`: the same share of each, of the last at half the rate; `network`: one threshold for all
    rewind: (
        str  # where the last training begins: at the `initial` weights, or at those of `another` seed, the control
    )

    leaves_constraint: ClassVar[bool] = True

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
        sizes = {name: trained.get_parameter(name).detach().abs() for name in weight_names(trained)}
        left = (1 - self.sparsity) ** (number / self.rounds)
        if self.across == NETWORK or len(sizes) == 1:
            return masks.over_the_network(sizes, 1 - left)
        *others, last = sizes
        left_of_last = (1 - self.rate / 2) ** (math.log(left) / math.log1p(-self.rate)) if left < 1 else 1.0
        zeros_of_last = min(round((1 - left_of_last) * sizes[last].numel()), sizes[last].numel() - 1)
        total = round((1 - left) * sum(size.numel() for size in sizes.values()))
        counts = shared_out(total - zeros_of_last, [sizes[name].numel() for name in others])
        found = {name: masks.lowest(sizes[name].flatten(), n) for name, n in zip(others, counts, strict=True)}
        found[last] = masks.lowest(sizes[last].flatten(), zeros_of_last)
        return {name: mask.view_as(sizes[name]) for name, mask in found.items()}

    def constraint(self, network: nn.Module) -> KeepZeros:
        """Return that what is zero stays zero."""
        return KeepZeros.of(network, weight_names(network))


def shared_out(count: int, sizes: Sequence[int]) -> list[int]:
    """Return whole shares of `count`, one a size, in proportion to them; together they are `count`."""
    ends = [round(count * upto / sum(sizes)) for upto in itertools.accumulate(sizes)]
    return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
