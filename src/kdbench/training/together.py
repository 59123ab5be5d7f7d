"""Jobs side by side, each in a lane of its own: whenever all want to train, those trainings run at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kdbench.data.splits import Split
from kdbench.settings.network import Recipe
from kdbench.training.fit import fit_all
from kdbench.training.learner import Learner
from kdbench.training.progress import Epoch
from kdbench.training.runtime import Runtime
from kdbench.training.spent import Spent
from kdbench.training.stacked import stackable


@dataclass(frozen=True)
class Wanted:
    """A training that a lane waits for."""

    learner: Learner
    train: Split
    val: Split
    recipe: Recipe
    runtime: Runtime
    until: int | None

    def goes_with(self, other: Wanted) -> bool:
        """Whether both are to see the same images, as often, from the same step on, and only logits are read."""
        mine, theirs = ((one.recipe, one.until, one.learner.step) for one in (self, other))
        alone = self.learner.needs_the_network_alone or other.learner.needs_the_network_alone
        alike = mine == theirs and self.runtime == other.runtime
        return alike and self.train is other.train and not alone


class Lane:
    """Where one job runs: a thread that goes only while it is its turn, so that jobs never meet in torch's state.

    `error` is what the job raised.
    """

    def __init__(self, job: Callable[[Lane], object]) -> None:
        self.wanted: Wanted | None = None
        self.outcome: list[Epoch] | Exception = []
        self.error: Exception | None = None
        self.together = 1  # how many lanes the last training was of
        self.random: Tensor | None = None  # the job's own random state, while it is not its turn
        self.spent = Spent()
        self.since = Spent()
        self.turn = threading.Semaphore(0)
        self.pause = threading.Semaphore(0)
        # A daemon, so that it all ends when interrupted, although jobs still wait.
        threading.Thread(target=self._run, args=(job,), daemon=True).start()

    def _run(self, job: Callable[[Lane], object]) -> None:
        self.turn.acquire()
        try:
            job(self)
        except Exception as error:  # reported by whoever called `train_together`
            self.error = error
        self.pause.release()

    def go(self) -> None:
        """Let the job run until it wants to train, or ends."""
        self.wanted = None
        self.since = Spent.now()
        if self.random is not None:
            torch.set_rng_state(self.random)
        self.turn.release()
        self.pause.acquire()
        self.random = torch.get_rng_state()
        self.spent += Spent.now() - self.since

    def clock(self) -> Spent:
        """Return the job's own time: that of its turns, and its share of each training."""
        return self.spent + Spent.now() - self.since

    def fit(
        self, learner: Learner, train: Split, val: Split, recipe: Recipe, runtime: Runtime, until: int | None = None
    ) -> list[Epoch]:
        """Do what `training.fit.fit` does, together with the other lanes. To be called by the job."""
        self.wanted = Wanted(learner, train, val, recipe, runtime, until)
        self.pause.release()
        self.turn.acquire()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def train_together(jobs: Sequence[Callable[[Lane], object]]) -> list[Exception | None]:
    """Run the jobs to their ends, and return what each raised, or None."""
    lanes = [Lane(job) for job in jobs]
    for lane in lanes:
        lane.go()
    while waiting := [lane for lane in lanes if lane.wanted is not None]:
        for group in groups(waiting):
            train(group)
        for lane in waiting:
            lane.go()
    return [lane.error for lane in lanes]


def groups(waiting: Sequence[Lane]) -> list[list[Lane]]:
    """Return those that can be trained as one together, and the others alone."""
    alike: list[list[Lane]] = []
    for lane in waiting:
        for group in alike:
            others = [other.wanted for other in [*group, lane] if other.wanted]
            if all(want.goes_with(others[0]) for want in others) and stackable([w.learner.model for w in others]):
                group.append(lane)
                break
        else:
            alike.append([lane])
    return alike


def train(group: Sequence[Lane]) -> None:
    """Train what the lanes of `group` want, and leave each its outcome; the time is shared equally."""
    wanted = [lane.wanted for lane in group if lane.wanted]
    first = wanted[0]
    began = Spent.now()
    try:
        learners = [want.learner for want in wanted]
        outcomes = fit_all(learners, first.train, first.val, first.recipe, first.runtime, first.until)
    except Exception as error:  # raised again in each job
        outcomes = [error] * len(group)
    for lane, want, outcome in zip(group, wanted, outcomes, strict=True):
        lane.outcome = outcome
        lane.together = len(group)
        if len(group) > 1:
            torch.manual_seed(want.learner.seed)  # as a training of its own leaves it: stacked networks draw nothing
        lane.random = torch.get_rng_state()
        lane.spent += (Spent.now() - began) / len(group)
