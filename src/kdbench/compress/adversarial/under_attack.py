"""What methods have in common that train a network under attacks."""

from __future__ import annotations

from torch import Tensor, nn

from kdbench.compress.step import NetworkStep, Run
from kdbench.settings import checks
from kdbench.training.attack import REACH, Attack
from kdbench.training.criteria import cross_entropy


class UnderAttack(NetworkStep):
    """A method whose knobs say by how much a pixel may move in all, by how much in each step, and in how many."""

    eps: float
    attack_step: float | None  # None: `REACH` times eps in all steps together
    attack_steps: int

    @property
    def trains_under(self) -> float:
        """By how much they move a pixel."""
        return self.eps

    @property
    def attack(self) -> Attack:
        """What the training images are changed by."""
        step = REACH * self.eps / self.attack_steps if self.attack_step is None else self.attack_step
        return Attack(self.eps, step, self.attack_steps)

    def check_attack(self) -> None:
        """Raise `BadSetting` for what of these knobs is out of range."""
        checks.real("compress.eps", self.eps, "(0, 1]")
        if self.attack_step is not None:
            checks.real("compress.attack_step", self.attack_step, "(0, 1]")
        checks.whole("compress.attack_steps", self.attack_steps, 1)


def attacked(attack: Attack, run: Run, network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return images on which the cross-entropy of `network` against `labels` is larger; it stays in its mode."""
    training = network.training
    network.eval()
    changed = attack(lambda changed: cross_entropy(run(network, changed).logits, labels), images)
    network.train(training)
    return changed
