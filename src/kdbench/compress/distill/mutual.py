"""Deep mutual learning (Zhang et al. 2018): networks that train at once, each under all the others."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.compress.step import NetworkStep, Run, Task
from kdbench.errors import BadSetting
from kdbench.models.network import same_weights
from kdbench.settings import checks
from kdbench.training.batches import Batch
from kdbench.training.criteria import Criterion, cross_entropy
from kdbench.training.features import Output

PEER_SEEDS = 2_000_000  # how far those of peers are from each other, and from the network's own
LARGEST_SEED = 2_147_483_647


@dataclass(frozen=True)
class Mutual(NetworkStep):
    """Train the network from scratch with others of its architecture and other seeds, on the same images.

    The first of them ships; the others are dropped.
    """

    networks: int  # that train at once, this one included, at least 2
    weight: float  # of what the others answer, > 0

    from_scratch: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.whole("compress.networks", self.networks, 2)
        checks.real("compress.weight", self.weight, "(0, inf)")

    def __call__(self, model: nn.Module, task: Task) -> nn.Module:
        """Return the first network. Raises `BadSetting` if all start alike: they would stay alike."""
        first = copy.deepcopy(model)
        seeds = [(task.seed + number * PEER_SEEDS) % (LARGEST_SEED + 1) for number in range(1, self.networks)]
        peers = [task.another(seed) for seed in seeds]
        if same_weights(first, peers[0]):
            raise BadSetting("networks that start from the same weights cannot teach each other: leave weights= out")
        task.fit(first, Peers(peers, self.weight, task.run))
        return first


class Peers(Criterion):
    """The sum of all networks' losses: `CE(labels) + weight * mean over the others of KL(other || own)`.

    Equations 6 to 8 of the paper. What the others say is a target, and has no gradient. All take their step at once,
    where the paper's take turns.
    """

    def __init__(self, peers: Sequence[nn.Module], weight: float, run: Run) -> None:
        self.modules = nn.ModuleList(peers)
        self.peers = self.modules
        self.weight = weight
        self.run = run

    def __call__(self, output: Output, batch: Batch) -> Tensor:
        """Return the loss."""
        logits = [output.logits, *(self.run(peer, batch.images).logits for peer in self.peers)]
        return mutual_loss(logits, batch.labels, self.weight)


def mutual_loss(logits: Sequence[Tensor], labels: Tensor, weight: float) -> Tensor:
    """Return the sum of the losses of all networks, by their logits (n, classes)."""
    each = [F.log_softmax(own, dim=1) for own in logits]
    losses = []
    for number, own in enumerate(each):
        others = [other.detach() for position, other in enumerate(each) if position != number]
        apart = [F.kl_div(own, other, reduction="batchmean", log_target=True) for other in others]
        losses.append(cross_entropy(logits[number], labels) + weight * torch.stack(apart).mean())
    return torch.stack(losses).sum()
