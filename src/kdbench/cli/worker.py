"""A run in a worker of a launcher: in silence, since the command that was typed says how it ended."""

from __future__ import annotations

import contextlib
import functools
import logging
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from kdbench.cli.messages import chain
from kdbench.cli.planned_run import Failure, PlannedRun
from kdbench.cli.reports import Report, Reports
from kdbench.cli.terminal import handled_by
from kdbench.errors import CannotWrite, LockLost
from kdbench.results.ledger import Ledger
from kdbench.settings import bars
from kdbench.storage import locks, mirror


class Warnings(logging.Handler):
    """Keeps what is warned of, but not what is waited for: where several share the work, that is usual."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message."""
        if record.name != locks.log.name:
            self.texts.append(self.format(record))


def perform(
    job: int,
    typed: Sequence[str],
    outputs: Path,
    planned: Callable[[], PlannedRun],
    reports: Reports,
    threads: int | None,
    has_store: bool = False,
) -> Report:
    """Do the run that `planned` gives, on so many threads, and report how it ended. Returns the report too.

    Raises `BadSetting` where this machine shares neither `outputs` nor, with `has_store`, an object store with the
    command, and `CannotWrite` if not even that can be said.
    """
    if not has_store or reports.shared:
        reports.require_shared(outputs)
    if reports.stopped:
        return Report(list(typed))
    said, ledger = Warnings(), Ledger(outputs)
    with bars.drawn(False), handled_by(said), reports.at_work(job):
        try:
            run = planned()
            reports.require_same_code(run.config)
            started = functools.partial(ledger.started, run.typed)
            try:
                result = run.do(started, threads=threads)
            except LockLost:  # this machine stood still: another is at it now, which is waited for
                result = run.do(started, threads=threads)
        except Exception as error:
            if ending := interruption(error):
                raise ending from error
            failure = Failure.of(typed, error)
            with contextlib.suppress(CannotWrite):
                ledger.failed(failure.typed, failure.message, failure.final)
            trace = "".join(traceback.format_exception(error))
            stops = isinstance(error, CannotWrite)
            report = Report(list(typed), error=failure.message, final=failure.final, stops=stops, trace=trace)
        else:
            folder = str(result.folder.relative_to(outputs))
            report = Report(list(typed), run.config.data.name, folder, result.was_done)
        unpushed = [] if reports.shared else mirror.unpushed()  # else the command itself pushes it
        report = Report(**vars(report) | {"warnings": said.texts, "unpushed": unpushed})
        if reports.shared:
            reports.write(job, report)
    return report


def interruption(error: Exception) -> BaseException | None:
    """Return what ends the process, if that is behind an error: a library that is just imported makes one of it."""
    return next((link for link in chain(error) if isinstance(link, SystemExit | KeyboardInterrupt)), None)
