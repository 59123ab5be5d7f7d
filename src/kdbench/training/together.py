"""Jobs that train, side by side: whenever all of them want to train, those trainings run at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from kdbench.data.splits import Split
from kdbench.settings.config import TrainConfig
from kdbench.training.fit import Epoch, Learner, fit_all
from kdbench.training.runtime import Runtime
from kdbench.training.stacked import stackable

Job = Callable[["Seat"], object]


@dataclass(frozen=True)
class Wanted:
    """A training that a job waits for."""

    learner: Learner
    train: Split
    val: Split
    settings: TrainConfig
    runtime: Runtime

    def goes_with(self, other: Wanted) -> bool:
        """Whether both are to see the same images, as often, from the same step on."""
        mine, theirs = (self.settings, self.learner.step), (other.settings, other.learner.step)
        return mine == theirs and self.train is other.train


class Seat:
    """The place of one job: a thread that runs only while it is its turn, so that jobs never meet in torch's state.

    `error` is what the job raised.
    """

    def __init__(self, job: Job) -> None:
        self.wanted: Wanted | None = None
        self.outcome: list[Epoch] | Exception = []
        self.error: Exception | None = None
        self.spent = 0.0
        self.since = 0.0
        self.turn = threading.Semaphore(0)
        self.pause = threading.Semaphore(0)
        # A daemon, so that an interrupted meeting ends although its jobs still wait.
        threading.Thread(target=self._run, args=(job,), daemon=True).start()

    def _run(self, job: Job) -> None:
        self.turn.acquire()
        try:
            job(self)
        except Exception as error:  # reported by whoever called the meeting
            self.error = error
        self.pause.release()

    def go(self) -> None:
        """Let the job run until it wants to train, or ends."""
        self.wanted = None
        self.since = time.perf_counter()
        self.turn.release()
        self.pause.acquire()
        self.spent += time.perf_counter() - self.since

    def clock(self) -> float:
        """Return the job's own seconds: those of its turns, and its share of each training."""
        return self.spent + time.perf_counter() - self.since

    def fit(
        self,
        model: nn.Module,
        train: Split,
        val: Split,
        settings: TrainConfig,
        runtime: Runtime,
        seed: int,
        **options: Any,
    ) -> list[Epoch]:
        """Do what `training.fit.fit` does, together with the other jobs. To be called by the job."""
        self.wanted = Wanted(Learner(model, seed, **options), train, val, settings, runtime)
        self.pause.release()
        self.turn.acquire()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def meet(jobs: Sequence[Job]) -> list[Exception | None]:
    """Run the jobs to their ends, and return what each raised, or None."""
    seats = [Seat(job) for job in jobs]
    for seat in seats:
        seat.go()
    while waiting := [seat for seat in seats if seat.wanted is not None]:
        for group in groups(waiting):
            train(group)
        for seat in waiting:
            seat.go()
    return [seat.error for seat in seats]


def groups(waiting: Sequence[Seat]) -> list[list[Seat]]:
    """Return those that can be trained as one together, and the others alone."""
    alike: list[list[Seat]] = []
    for seat in waiting:
        for group in alike:
            others = [other.wanted for other in [*group, seat] if other.wanted]
            if all(want.goes_with(others[0]) for want in others) and stackable([w.learner.model for w in others]):
                group.append(seat)
                break
        else:
            alike.append([seat])
    return alike


def train(group: Sequence[Seat]) -> None:
    """Train what the seats of `group` want, and leave each its outcome; the time is shared equally."""
    wanted = [seat.wanted for seat in group if seat.wanted]
    first = wanted[0]
    began = time.perf_counter()
    try:
        learners = [want.learner for want in wanted]
        outcomes = fit_all(learners, first.train, first.val, first.settings, first.runtime)
    except Exception as error:  # raised again in each job
        outcomes = [error] * len(group)
    for seat, outcome in zip(group, outcomes, strict=True):
        seat.outcome = outcome
        seat.spent += (time.perf_counter() - began) / len(group)
