"""The networks of several seeds, trained at once."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable

from kdbench.errors import BadSetting
from kdbench.networks.compared import Compared, compared
from kdbench.networks.maker import Maker
from kdbench.settings.network import NetworkSpec
from kdbench.training.together import Lane, train_together

log = logging.getLogger(__name__)


def train_ahead(maker: Maker, spec: NetworkSpec) -> None:
    """Train the networks of all seeds of `maker.together` at once, into the store, unless that of `spec` lies there.

    What cannot be trained so is only reported: its own run trains it alone, and fails there if it must.
    """
    with contextlib.suppress(BadSetting):
        compared(maker.looking_only(), spec)
        return

    maker = maker.settled()  # what is stacked runs on the same threads
    for teacher in fixed_teachers(spec):
        maker.make(teacher)  # once, before all lanes want it at the same time

    def job(seed: int) -> Callable[[Lane], Compared]:
        return lambda lane: compared(maker.in_lane(lane), spec.with_seed(seed))

    for seed, error in zip(maker.together, train_together([job(seed) for seed in maker.together]), strict=True):
        if error is not None:
            log.warning("seed %d could not be trained with the others (%s): it is trained alone", seed, error)


def fixed_teachers(spec: NetworkSpec) -> list[NetworkSpec]:
    """Return the teachers of every depth whose seed does not follow the student's: all its seeds share them."""
    found = []
    for step in spec.steps:
        for teacher in step.teachers:
            found += [teacher] if teacher.seed_is_fixed else fixed_teachers(teacher)
    return found
