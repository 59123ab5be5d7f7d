"""What a run compares: the network that ships, what it was before, and who taught it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kdbench.compress.order import method_of, teachers_of
from kdbench.compress.step import NetworkStep
from kdbench.networks.maker import Maker
from kdbench.networks.transfer import Transfer, learnt_from
from kdbench.settings.network import NetworkSpec
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


def compared(maker: Maker, spec: NetworkSpec, to_itself: bool = True) -> Compared:
    """Return the network that `spec` describes, and those it is compared with.

    `to_itself`: with itself before any step, if it has no teachers.
    """
    teachers = tuple(map(maker.make, teachers_of(spec)))
    shipped = maker.make(spec)
    taught = [method_of(step) for step in spec.steps if step.teachers]
    weights = taught[-1].teacher_weights if taught and isinstance(taught[-1], NetworkStep) else None
    before = baseline(maker, spec, to_itself and not teachers) if spec.steps else shipped
    return Compared(shipped, before, teachers, weights, learnt_from(spec, maker.splits))


def baseline(maker: Maker, spec: NetworkSpec, answers: bool) -> Trained:
    """Return the network before any step.

    Where the first starts from scratch it need not be trained, unless its `answers` are wanted: else only sizes
    matter.
    """
    plain = spec.uncompressed
    if not answers and spec.steps and getattr(method_of(spec.steps[0]), "from_scratch", False):
        return maker.in_use(maker.initial(plain))
    return maker.make(plain)
