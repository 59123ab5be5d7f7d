"""Adversarial training (Madry et al. 2018): trained on images that an attack has changed, and nothing else."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor, nn

from kdbench.compress.adversarial.under_attack import UnderAttack, attacked
from kdbench.compress.step import Run, Task
from kdbench.training.attack import Attack
from kdbench.training.batches import Batch
from kdbench.training.criteria import Criterion, cross_entropy
from kdbench.training.features import Output


@dataclass(frozen=True)
class PGDTraining(UnderAttack):
    """Train the network from scratch on attacked images (equation 2.1 of the paper, its inner part by PGD).

    It is attacked as it is in use: in eval mode, so that its batch norm learns nothing from images on the way.
    """

    eps: float  # by which a pixel may move, in [0, 1]
    attack_step: float | None  # by which it moves in each step; None: 2.5 eps in all of them
    attack_steps: int

    from_scratch: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.check_attack()

    def __call__(self, model: nn.Module, task: Task) -> nn.Module:
        """Return the network."""
        network = copy.deepcopy(model)
        task.fit(network, AttackedLabels(self.attack, task.run))
        return network


class AttackedLabels(Criterion):
    """Cross-entropy of images that were changed so that it grows."""

    def __init__(self, attack: Attack, run: Run) -> None:
        self.attack = attack
        self.run = run

    def prepare(self, batch: Batch, network: nn.Module) -> Batch:
        """Return the batch with attacked images."""
        return replace(batch, images=attacked(self.attack, self.run, network, batch.images, batch.labels), view=None)

    def __call__(self, output: Output, batch: Batch) -> Tensor:
        """Return the mean over the batch."""
        return cross_entropy(output.logits, batch.labels)
