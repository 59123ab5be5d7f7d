"""A search in Optuna: its journal, which several processes share and a killed one goes on from, and its trials."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from kdbench.errors import CannotWrite, KdbenchError
from kdbench.search.plan import DIRECTIONS, Plan, TooLarge
from kdbench.search.space import Place
from kdbench.settings.config import digest
from kdbench.storage import durable, locks

log = logging.getLogger(__name__)

JOURNAL = "journal.log"
WARM_UP_EPOCHS, WARM_UP_TRIALS = 2, 5  # before which no trial is given up
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
WHY = "why"  # written down of every trial that ended; of one whose process was killed, nothing is

Settings = Mapping[str, Any]
Report = Callable[[int, float], None]
Measure = Callable[[Settings, Report], Mapping[str, float]]
"""From settings to what was measured. It reports the accuracy after each epoch, and lets through what that raises."""


@dataclass(frozen=True)
class Tried:
    """A trial that ended: its settings and what was measured, or, in words, why nothing was."""

    number: int
    settings: Settings
    found: Mapping[str, float]
    why: str


class Search:
    """The trials of a plan by one sampler, in the journal that `folder` holds; `settings` are what was typed."""

    def __init__(self, plan: Plan, sampler: str, folder: Path, settings: Sequence[str]) -> None:
        durable.folder(folder)
        self.plan = plan
        what = digest(
            [repr(plan.space), *map(dict, (plan.objectives, plan.settings, plan.limits)), *sorted(settings)]
        )
        self.name = f"{plan.name}-{what[:8]}"
        self.locks = folder / "locks" / f"{self.name}-{sampler}"
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
        with locks.held(self.locks / "next", "searching", quiet=True):
            self.study = optuna.create_study(
                storage=storage,
                study_name=f"{self.name}-{sampler}",
                directions=[DIRECTIONS[how] for how in plan.objectives.values()],
                load_if_exists=True,
            )
        # Other numbers in a process that goes on, and in one beside it.
        seed = int(digest([sampler, len(self.study.get_trials(deepcopy=False))])[:8], 16)
        self.study.sampler = sampler_of(sampler, seed)
        self.study.pruner = optuna.pruners.MedianPruner(WARM_UP_TRIALS, WARM_UP_EPOCHS)

    @property
    def ended(self) -> list[Tried]:
        """The trials that count, in their order."""
        trials = self.study.get_trials(deepcopy=False, states=ENDED)
        return [tried_of(one) for one in trials if WHY in one.user_attrs]

    @property
    def running(self) -> list[FrozenTrial]:
        """The trials that processes are at, or were when they were killed."""
        return self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))

    @property
    def best(self) -> list[Tried]:
        """The best trial; of several objectives those that no other beats in all. Ordered by the first objective."""
        first, how = next(iter(self.plan.objectives.items()))
        found = [tried_of(one) for one in self.study.best_trials] if any(one.found for one in self.ended) else []
        ordered = sorted(found, key=lambda one: one.found[first], reverse=how == "maximise")
        return ordered if len(self.plan.objectives) > 1 else ordered[:1]

    def run(self, budget: int, settle: Callable[[Settings], Settings], measure: Measure) -> Iterator[Tried]:
        """Yield the trials that this process makes, until `budget` have ended here and elsewhere.

        `settle` makes settings that can be typed of what was drawn, `measure` measures them.
        """
        while True:
            with contextlib.ExitStack() as held:
                with locks.held(self.locks / "next", "searching", quiet=True):
                    self.revive()
                    if len(self.ended) + len(self.running) < budget:
                        trial = self.study.ask()
                        held.enter_context(locks.held(self.lock(trial.number), f"trial {trial.number}"))
                    elif waiting := self.running:
                        trial = None
                    else:
                        return
                if trial is not None:
                    yield self.one(trial, settle, measure)
            if trial is None:
                with locks.held(self.lock(waiting[0].number), f"trial {waiting[0].number}"):
                    pass

    def lock(self, number: int) -> Path:
        """Return the lock that whoever is at a trial holds."""
        return self.locks / f"trial-{number}"

    def revive(self) -> None:
        """Have the settings of trials tried again whose process was killed."""
        for trial in self.running:
            if locks.taken(self.lock(trial.number)):
                continue
            log.info("trial %d was cut off, and is begun again", trial.number)
            self.study.tell(trial.number, state=TrialState.FAIL)
            if trial.params:
                self.study.enqueue_trial(trial.params)

    def one(self, trial: optuna.Trial, settle: Callable[[Settings], Settings], measure: Measure) -> Tried:
        """Do a trial, and write down how it ended."""
        drawn = self.plan.space.draw(trial)
        settings: Settings = {name: value for name, value in drawn.items() if not isinstance(value, Place)}
        found: Mapping[str, float] = {}
        why, state = "", TrialState.COMPLETE

        def report(epoch: int, value: float) -> None:
            if len(self.plan.objectives) > 1:  # of several, no one knows what is hopeless
                return
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned(f"given up after epoch {epoch} at {value:.2%}")

        try:
            settings = settle(drawn)
            found = measure(settings, report)
        except (optuna.TrialPruned, TooLarge) as stop:
            why, state = str(stop), TrialState.PRUNED
        except CannotWrite:
            raise  # nothing further can be kept
        except KdbenchError as error:
            why, state = str(error), TrialState.FAIL
        for name, value in (("settings", dict(settings)), ("found", dict(found)), (WHY, why)):
            trial.set_user_attr(name, value)
        values = [found[name] for name in self.plan.objectives] if state == TrialState.COMPLETE else None
        self.study.tell(trial, values, state)
        return Tried(trial.number, settings, found, why)


def tried_of(trial: FrozenTrial) -> Tried:
    """Return what the journal holds of a trial that ended."""
    kept = trial.user_attrs
    return Tried(trial.number, kept.get("settings", {}), kept.get("found", {}), kept.get(WHY, ""))


def sampler_of(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """Return what draws the settings: TPE (Bergstra et al. 2011), NSGA-II (Deb et al. 2002), or chance alone."""
    if name == "random":
        return optuna.samplers.RandomSampler(seed)
    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(population_size=16, seed=seed)
    with warnings.catch_warnings():
        # What knobs there are depends on the method, so each group of them is modelled by itself.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(n_startup_trials=8, multivariate=True, group=True, seed=seed)
