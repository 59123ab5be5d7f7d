"""What a run compares: the network that ships, what it was before, and who taught it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kdbench.networks.transfer import Transfer
from kdbench.training.once import Trained


@dataclass(frozen=True)
class Compared:
    """The network that ships, and those it is compared with: itself before any step, and its teachers.

    `transfer` is what it learned from under these.
    """

    shipped: Trained
    baseline: Trained
    teachers: tuple[Trained, ...] = ()
    teacher_weights: Sequence[float] | None = None
    transfer: Transfer | None = None

    @property
    def train_threads(self) -> int | None:
        """The number of threads of every training that led to what ships; None if there were several, or none."""
        numbers = set(self.shipped.threads)
        return numbers.pop() if len(numbers) == 1 else None
