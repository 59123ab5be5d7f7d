"""The runs of a multirun that workers of a launcher do: handed out, watched, and handed out again if one is lost."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus

from kdbench.cli.invocation import Invocation
from kdbench.cli.messages import explain
from kdbench.cli.reports import LOOK_SECONDS, Report, Reports
from kdbench.errors import BadSetting, KdbenchError
from kdbench.results.ledger import Ledger
from kdbench.storage import locks

log = logging.getLogger("kdbench")

# What launchers raise when a worker is gone, by the names that joblib, Ray and submitit give it.
LOST = {
    *("TerminatedWorkerError", "BrokenProcessPool", "BrokenExecutor"),
    *("WorkerCrashedError", "NodeDiedError", "OwnerDiedError", "UncompletedJobError"),
}

Typed = tuple[str, ...]
"""The settings of a run, as typed."""
Jobs = Sequence[Sequence[str]]
Launch = Callable[[Jobs, int], Sequence[JobReturn]]
"""From the settings of jobs, for Hydra, and the number of the first, to what they returned."""


@dataclass(frozen=True)
class Limits:
    """At most so many runs in a launch, all if it is None; and tries.

    Those of a run whose worker is lost each time, and of launches in which none is even begun.
    """

    in_a_launch: int | None = None
    tries: int = 3

    def require_possible(self) -> None:
        """Raise `BadSetting` for limits with which nothing is done."""
        typed = {"tries": self.tries} | ({} if self.in_a_launch is None else {"max_batch_size": self.in_a_launch})
        for name, value in typed.items():
            if not (isinstance(value, int) and value >= 1):
                raise BadSetting(f"hydra.sweeper.{name}={value} does nothing: type a whole number of at least 1")


class Elsewhere:
    """The runs of one command: `launch` hands them out, their workers write to `reports`."""

    def __init__(
        self, invocation: Invocation, outputs: Path, remote: str | None, reports: Reports, launch: Launch
    ) -> None:
        self.invocation = invocation
        self.ledger = Ledger(outputs)
        self.remote = remote  # an object store, by its URL
        self.reports = reports
        self.launch = launch
        self.jobs: list[Typed] = []  # that were handed out, by their numbers
        self.first = 0  # of the last launch
        self.ended: set[int] = set()  # of these
        self.left: dict[Typed, Sequence[str]] = {}  # runs of which nobody has said how they ended, for Hydra
        self.cut_off: Counter[Typed] = Counter()  # how often, once begun
        self.broken: Exception | None = None  # what was raised while ends of jobs were printed

    def do(self, runs: Mapping[Typed, Sequence[str]], limits: Limits) -> None:
        """Do `runs`, in their order; then those again that others disturbed."""
        with self.reports.of_this_command():
            try:
                self.until_done(runs, limits)
                if not self.invocation.stopped and (again := self.invocation.take_untimed()):
                    self.until_done({typed: runs[typed] for typed in again}, limits)
            except BaseException:
                self.reports.stop()
                raise
            if not self.invocation.stopped:
                self.reports.close()

    def until_done(self, runs: Mapping[Typed, Sequence[str]], limits: Limits) -> None:
        """Hand out `runs`, and what is left of them, until nothing is, or launches come to nothing."""
        self.left = dict(runs)
        why, in_vain, waiting = "", 0, False
        while self.left and not self.invocation.stopped:
            # Of a launch that has failed, some may go on; others are done by another command.
            free = [typed for typed in self.left if not locks.taken(self.ledger.lock(typed))]
            if not free:
                if not waiting:
                    log.warning("waiting for other processes, which do %d of the runs", len(self.left))
                    waiting = True
                time.sleep(LOOK_SECONDS)
                self.look()
                continue
            # What took its worker with it may do so again, and all that other workers are at.
            free.sort(key=self.cut_off.__getitem__)
            before = len(self.left), self.cut_off.total()
            why = self.hand_out(free[: limits.in_a_launch]) or why
            in_vain = in_vain + 1 if before == (len(self.left), self.cut_off.total()) else 0
            if self.invocation.stopped:
                return
            lost_for_good = [one for one in self.left if self.cut_off[one] >= limits.tries]
            if in_vain >= limits.tries:
                lost_for_good = [one for one in free[: limits.in_a_launch] if one in self.left]
                in_vain = 0
            for typed in lost_for_good:
                del self.left[typed]
                self.invocation.fail(KdbenchError(f"its worker ends before it does: {why}"), typed, self.ledger)
            if lost := self.cut_off.total() - before[1]:
                log.warning("%d runs were cut off, and go on from their checkpoints: %s", lost, in_short(why))
            elif any(typed in self.left for typed in free[: limits.in_a_launch]):
                log.warning("runs that were not begun are handed out again: %s", in_short(why))

    def hand_out(self, runs: Sequence[Typed]) -> str:
        """Launch some of what is left, and return in words what went wrong with that, if anything did."""
        first = self.first = len(self.jobs)
        self.jobs += runs
        over = threading.Event()

        def watch() -> None:
            try:
                while not over.wait(LOOK_SECONDS):
                    self.look()
            except Exception as error:
                self.broken = error
                self.reports.stop()

        watching = threading.Thread(target=watch, daemon=True)
        watching.start()
        returned: Sequence[JobReturn] = ()
        why = ""
        try:
            returned = self.launch([self.left[typed] for typed in runs], first)
        except Exception as error:
            why = explain(error)
            if not self.reports.begun and self.broken is None and not is_of_a_lost_worker(error):
                raise KdbenchError(f"no worker could be started: {why}") from error
        finally:
            over.set()
        watching.join()
        if self.broken is not None:
            raise self.broken
        self.look()
        for number, job in enumerate(returned, first):
            if job.status == JobStatus.COMPLETED and isinstance(job.return_value, Report):
                self.take(number, job.return_value, self.remote)  # of a machine that cannot write here
            elif job.status == JobStatus.FAILED and self.jobs[number] in self.left:
                why = explain(job._return_value)  # of its machine: another may do it
        begun = {self.jobs[number] for number in self.reports.begun if number >= first}
        self.cut_off.update(typed for typed in begun if typed in self.left)
        return why or "a worker was lost"

    def look(self) -> None:
        """Print how jobs ended since the last look, those of earlier launches too."""
        for number, report in self.reports.take().items():
            self.take(number, report)
        if self.invocation.stopped:
            self.reports.stop()
        if self.invocation.bar is not None and not self.invocation.bar.disable:
            begun = {self.jobs[number] for number in self.reports.begun if self.first <= number < len(self.jobs)}
            running = sum(typed in self.left for typed in begun)
            self.invocation.bar.set_postfix_str(f"{running} running" if running else "starting workers")

    def take(self, number: int, report: Report, remote: str | None = None) -> None:
        """Print how a job ended, once, unless it was not begun. Its row is here, or in the store `remote`."""
        typed = self.jobs[number] if number < len(self.jobs) else None
        if typed != tuple(report.typed) or number in self.ended or not (report.folder or report.error):
            return
        self.ended.add(number)
        if typed in self.left:
            self.invocation.reported(report, self.ledger.outputs, remote)
            del self.left[typed]


def is_of_a_lost_worker(error: BaseException) -> bool:
    """Whether a launcher says with `error` that a worker is gone, which another launch may not meet."""
    return any(kind.__name__ in LOST for kind in type(error).__mro__)


def in_short(why: str) -> str:
    """Return the first sentence of what a launcher says of a lost worker, without what it may come of."""
    return why.partition(". ")[0].partition(" (")[0]
