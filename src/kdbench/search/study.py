"""A search in Optuna: its journal, which several processes share and a killed one goes on from, and its trials."""

from __future__ import annotations

import contextlib
import logging
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from kdbench.errors import BadSetting, Busy, Collapsed, DamagedFile, KdbenchError, LockLost, NotFinite
from kdbench.search.plan import DIRECTIONS, Plan, TooLarge
from kdbench.search.samplers import pruner_of, sampler_of
from kdbench.search.space import Place
from kdbench.settings.config import digest
from kdbench.storage import durable, locks

log = logging.getLogger(__name__)

JOURNAL = "journal.log"
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
    """The trials of a plan by one sampler, in the journal in `folder`; `rests_on` is what else they depend on.

    `epochs` are those of a training: after a third of them, at least two, a trial is given up if it is hopeless.
    """

    def __init__(self, plan: Plan, sampler: str, folder: Path, rests_on: Sequence[str], epochs: int) -> None:
        durable.folder(folder)
        self.plan = plan
        what = digest([repr(plan.space), *map(dict, (plan.objectives, plan.settings, plan.limits)), *rests_on])
        self.name = f"{plan.name}-{what[:8]}"
        self.locks = folder / "locks" / f"{self.name}-{sampler}"
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with locks.held(self.locks / "next", "searching", quiet=True):
            storage = opened(folder / JOURNAL)
            self.study = optuna.create_study(
                storage=storage,
                study_name=f"{self.name}-{sampler}",
                directions=[DIRECTIONS[how] for how in plan.objectives.values()],
                load_if_exists=True,
            )
        self.sampler = sampler
        self.study.pruner = pruner_of(epochs)

    @property
    def ended(self) -> list[Tried]:
        """The trials that count, in their order."""
        trials = self.study.get_trials(deepcopy=False, states=ENDED)
        return [tried_of(one) for one in trials if WHY in one.user_attrs]

    @property
    def running(self) -> list[FrozenTrial]:
        """The trials that processes are at, or were when they were killed."""
        return self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))

    def best(self, budget: int, count: int = 1) -> list[Tried]:
        """Return the `count` best of the first `budget` trials, the best first.

        Of several objectives, some of those that no other trial beats in all, from one end of that front to the
        other, by the first objective.
        """
        found = [one for one in self.ended[:budget] if one.found]
        signs = {name: -1 if how == "maximise" else 1 for name, how in self.plan.objectives.items()}
        costs = [[sign * one.found[name] for name, sign in signs.items()] for one in found]
        kept = [
            one
            for one, own in zip(found, costs, strict=True)
            if len(signs) == 1 or not any(other != own and all(map(operator.le, other, own)) for other in costs)
        ]
        first, sign = next(iter(signs.items()))
        kept.sort(key=lambda one: sign * one.found[first])
        if len(signs) == 1 or count >= len(kept):
            return kept[:count]
        return [kept[place * (len(kept) - 1) // max(count - 1, 1)] for place in range(count)]

    def run(self, budget: int, settle: Callable[[Settings], Settings], measure: Measure) -> Iterator[Tried]:
        """Yield the trials that this process makes, until `budget` have ended here and elsewhere.

        `settle` makes settings that can be typed of what was drawn, `measure` measures them.
        """
        while True:
            with contextlib.ExitStack() as held:
                with locks.held(self.locks / "next", "searching", quiet=True):
                    self.revive()
                    if len(self.ended) + len(self.running) < budget:
                        trial = self.ask()
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

    def ask(self) -> optuna.Trial:
        """Return the next trial: of other numbers than any before it, whichever process asked for that."""
        trials = len(self.study.get_trials(deepcopy=False))
        self.study.sampler = sampler_of(self.sampler, int(digest([self.sampler, trials])[:8], 16))
        return self.study.ask()

    def lock(self, number: int) -> Path:
        """Return the lock that whoever is at a trial holds."""
        return self.locks / f"trial-{number}"

    def is_at_work(self, number: int) -> bool:
        """Whether a process may be at a trial: certainly known, since another is not to begin it too."""
        try:
            with locks.held(self.lock(number), f"trial {number}", wait=False):
                return False
        except Busy:
            return True

    def revive(self) -> None:
        """Have the settings of trials tried again whose process was killed, unless it had come to its end."""
        for trial in self.running:
            if self.is_at_work(trial.number):
                continue
            kept = tried_of(trial)
            if WHY in trial.user_attrs and kept.found:
                self.study.tell(trial.number, self.values(kept.found))
                continue
            self.study.tell(trial.number, state=TrialState.FAIL)
            if WHY not in trial.user_attrs and trial.params:
                log.info("trial %d was cut off, and is begun again", trial.number)
                self.study.enqueue_trial(trial.params)

    def values(self, found: Mapping[str, float]) -> list[float]:
        """Return the objectives of what was measured."""
        return [found[name] for name in self.plan.objectives]

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
        except (BadSetting, NotFinite, Collapsed) as error:
            why, state = str(error), TrialState.FAIL
        except LockLost:  # the trial is another process's by now
            raise
        except KdbenchError:  # what may pass, or be mended: the trial counts for nothing
            self.study.tell(trial, state=TrialState.FAIL)
            raise
        except Exception as error:  # a defect, which the next try would only find again
            self.write(trial, Tried(trial.number, settings, {}, f"{type(error).__name__}: {error}"))
            self.study.tell(trial, state=TrialState.FAIL)
            raise
        tried = Tried(trial.number, settings, found, why)
        self.write(trial, tried)
        self.study.tell(trial, self.values(found) if state == TrialState.COMPLETE else None, state)
        return tried

    @staticmethod
    def write(trial: optuna.Trial, tried: Tried) -> None:
        """Write down how a trial ended."""
        for name, value in (("settings", dict(tried.settings)), ("found", dict(tried.found)), (WHY, tried.why)):
            trial.set_user_attr(name, value)


def opened(journal: Path) -> optuna.storages.JournalStorage:
    """Return what a journal holds, without a last line that a full disk or a power cut left unfinished.

    Raises `DamagedFile`.
    """
    if journal.exists():
        content = durable.read(journal)
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            durable.write(journal, whole)
    try:
        return optuna.storages.JournalStorage(JournalFileBackend(str(journal)))
    except (ValueError, KeyError, AssertionError) as error:
        raise DamagedFile(f"{journal} is damaged: move it away, and the search begins anew", journal) from error


def tried_of(trial: FrozenTrial) -> Tried:
    """Return what the journal holds of a trial that ended."""
    kept = trial.user_attrs
    return Tried(trial.number, kept.get("settings", {}), kept.get("found", {}), kept.get(WHY, ""))
