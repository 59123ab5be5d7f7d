"""What methods have in common that train a network under attacks."""

from __future__ import annotations

from torch import Tensor, nn

from kdbench.compress.step import NetworkStep, Run
from kdbench.training.attack import Attack
from kdbench.training.criteria import cross_entropy


class UnderAttack(NetworkStep):
    """A method whose knobs say by how much a pixel may move in all, by how much in each step, and in how many."""

    eps: float
    attack_step: float
    attack_steps: int

    @property
    def trains_under(self) -> float:
        """By how much they move a pixel."""
        return self.eps

    @property
    def attack(self) -> Attack:
        """What the training images are changed by."""
        return Attack(self.eps, self.attack_step, self.attack_steps)


def attacked(attack: Attack, run: Run, network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return images on which the cross-entropy of `network` against `labels` is larger; it stays in its mode."""
    training = network.training
    network.eval()
    changed = attack(lambda changed: cross_entropy(run(network, changed).logits, labels), images)
    network.train(training)
    return changed
