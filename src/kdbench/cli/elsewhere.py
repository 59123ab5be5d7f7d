"""The runs of a multirun that workers of a launcher do: handed out, watched, and handed out again if one is lost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus

from kdbench.cli.invocation import Invocation
from kdbench.cli.messages import explain
from kdbench.cli.reports import LOOK_SECONDS, Report, Reports
from kdbench.errors import KdbenchError
from kdbench.results.ledger import Ledger
from kdbench.storage import locks

log = logging.getLogger("kdbench")

TRIES = 3  # launches in which not one run was done, after which those that are left fail

Typed = tuple[str, ...]
"""The settings of a run, as typed."""
Jobs = Sequence[Sequence[str]]
Launch = Callable[[Jobs, int], Sequence[JobReturn]]
"""From the settings of jobs, for Hydra, and the number of the first, to what they returned."""


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
        self.left: dict[Typed, Sequence[str]] = {}  # runs of which nobody has said how they ended, for Hydra
        self.told = 0  # how many have

    def do(self, runs: Mapping[Typed, Sequence[str]], most: int | None) -> None:
        """Do `runs`, in their order, at most so many in a launch; then those again that others disturbed."""
        self.reports.begin()
        try:
            self.until_done(runs, most)
            if not self.invocation.stopped and (again := self.invocation.take_untimed()):
                self.until_done({typed: runs[typed] for typed in again}, most)
        except BaseException:
            self.reports.stop()
            raise
        if not self.invocation.stopped:
            self.reports.close()

    def until_done(self, runs: Mapping[Typed, Sequence[str]], most: int | None) -> None:
        """Hand out `runs`, and what is left of them, until nothing is, or launches come to nothing."""
        self.left = dict(runs)
        why, in_vain = "", 0
        while self.left and not self.invocation.stopped:
            # Of a launch that has failed, some may go on.
            lost = [typed for typed in self.left if not locks.taken(self.ledger.lock(typed))][:most]
            if not lost:
                time.sleep(LOOK_SECONDS)
                self.take(self.reports.take())
                continue
            if in_vain == TRIES:
                break
            told = self.told
            why = self.hand_out(lost) or why
            in_vain = in_vain + 1 if self.told == told else 0
            if cut_off := sum(typed in self.left for typed in lost):
                log.warning("%d of the runs were cut off (%s); they are handed out again", cut_off, why)
        for typed in self.left if not self.invocation.stopped else ():
            self.invocation.fail(KdbenchError(f"its workers end before it does: {why}"), typed)

    def hand_out(self, runs: Sequence[Typed]) -> str:
        """Launch some of what is left, and return in words what went wrong with that, if anything did."""
        first = len(self.jobs)
        self.jobs += runs
        over = threading.Event()

        def watch() -> None:
            while not over.wait(LOOK_SECONDS):
                self.take(self.reports.take())
                if self.invocation.bar is not None:
                    self.invocation.bar.refresh()  # the time that has passed

        watching = threading.Thread(target=watch, daemon=True)
        watching.start()
        returned: Sequence[JobReturn] = ()
        why = ""
        try:
            returned = self.launch([self.left[typed] for typed in runs], first)
        except Exception as error:
            why = explain(error)
            if not self.reports.begun:
                raise KdbenchError(f"no worker could be started: {why}") from error
        finally:
            over.set()
        watching.join()
        self.take(self.reports.take())
        for number, job in enumerate(returned, first):
            if job.status == JobStatus.COMPLETED and isinstance(job.return_value, Report):
                self.take({number: job.return_value})  # of a machine that cannot write here
            elif job.status == JobStatus.FAILED and self.jobs[number] in self.left:
                del self.left[self.jobs[number]]
                self.told += 1
                self.invocation.fail(job._return_value, self.jobs[number])
        return why

    def take(self, reports: Mapping[int, Report]) -> None:
        """Tell how jobs ended, those of earlier launches too."""
        for number, report in reports.items():
            typed = self.jobs[number]
            if typed in self.left:
                del self.left[typed]
                self.told += 1
                self.invocation.reported(report, self.ledger.outputs, self.remote)
        if self.invocation.stopped:
            self.reports.stop()
