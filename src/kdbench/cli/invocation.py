"""What one `kdbench run` or `kdbench sweep` has done so far: its runs, their failures, and what is written down."""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from kdbench.cli import signals, terminal
from kdbench.cli.planned_run import Failure, PlannedRun
from kdbench.cli.reports import Report
from kdbench.errors import BadSetting, Busy, CannotReach, CannotRead, CannotWrite, DamagedFile
from kdbench.results.ledger import Ledger
from kdbench.settings.identity import release
from kdbench.storage import processes

if TYPE_CHECKING:
    from kdbench.results.row import Row

log = logging.getLogger("kdbench")


@dataclass
class Invocation:
    """One command and its runs, in this process or in those of a launcher."""

    command: list[str] = field(default_factory=list)  # as typed, after `kdbench`
    runs: list[list[str]] = field(default_factory=list)
    several: bool = False  # a multirun
    tracebacks: bool = False  # asked for by HYDRA_FULL_ERROR
    bar: tqdm[Any] | None = None
    made: list[tuple[Row, Path]] = field(default_factory=list)  # the rows, and the folders of their runs
    failures: list[Failure] = field(default_factory=list)
    replaced: set[tuple[str, str]] = field(default_factory=set)  # data sets asked for, and used instead
    # Of each variant of a multirun: the seeds of all its runs.
    seeds: dict[tuple[str, ...], list[int]] = field(default_factory=dict)
    postponed: list[PlannedRun] = field(default_factory=list)  # other processes do them now
    # Done, but disturbed while they were timed: by folder, with what to call them.
    untimed: dict[Path, tuple[str, list[str]]] = field(default_factory=dict)
    planned: dict[tuple[str, ...], PlannedRun] = field(default_factory=dict)  # that this process did
    recorded: set[Path] = field(default_factory=set)  # the outputs in whose ledger the command is written down
    held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)  # until the command ends
    stopped: bool = False  # nothing can be written any more
    unpushed: dict[str, list[str]] = field(
        default_factory=dict
    )  # by host: what workers cannot push to an object store from their machines

    def plan(self, *runs: list[str]) -> None:
        """Remember what runs there will be, besides those that are known."""
        for run in runs:
            self.runs.append(run)
            typed = [setting.partition("=")[2] for setting in run if setting.startswith("seed=")]
            self.seeds.setdefault(but_seed(run), []).extend(int(seed) for seed in typed if seed.isdecimal())

    def perform(self, run: PlannedRun, wait: bool) -> Row | None:
        """Do a run, if no other process does, and return its row."""
        signals.check()
        if self.stopped:
            return None
        row = None
        ledger = Ledger(run.config.outputs)
        self.planned[tuple(run.typed)] = run

        def started(folder: Path) -> None:
            self.record(ledger)
            ledger.started(run.typed, folder)

        try:
            result = run.do(started, self.saying(run), wait, self.seeds.get(but_seed(run.typed), []))
        except Exception as error:
            signals.check()
            if isinstance(error, Busy) and not wait:
                self.postponed.append(run)
                return None
            self.fail(error, run.typed, ledger)
        else:
            row = result.row
            self.succeed(run.typed, run.config.data.name, row, result.folder, result.was_done)
        if self.bar is not None:
            self.bar.update()
        return row

    def reported(self, report: Report, outputs: Path, remote: str | None = None) -> None:
        """Print how a run ended that a worker did; its row lies in `outputs`, or is in the store `remote`."""
        from kdbench.results.row import FILE, read
        from kdbench.results.taken import bring_one

        self.unpushed[report.host] = report.unpushed
        for text in report.warnings:
            log.warning("%s", text)
        if report.error is not None:
            self.report_failure(Failure(report.typed, report.error, report.final), report.trace)
            self.stopped |= report.stops
        elif report.folder is not None:
            folder = outputs / report.folder
            try:
                if remote is not None:
                    bring_one(outputs, remote, report.folder)
                self.succeed(report.typed, report.data, read(folder / FILE), folder, report.was_done)
            except (DamagedFile, CannotRead, CannotReach, Busy) as error:  # it was made again meanwhile, or damaged
                self.fail(error, report.typed)
        if self.bar is not None:
            self.bar.update()

    def saying(self, run: PlannedRun) -> Callable[[str], None]:
        """Return what lets the bar say what is done for a run: not everything that takes time moves a bar."""
        network = run.config.network

        def say(stage: str) -> None:
            if self.bar is not None:
                self.bar.set_postfix_str(f"{stage} {network.name} {run.config.compress} seed {network.seed}")

        return say

    def succeed(self, typed: Sequence[str], asked: str, row: Row, folder: Path, was_done: bool) -> None:
        """Remember a row, and print its line; `asked` is the data set that was asked for."""
        from kdbench.results.lines import line, variant

        before = [one for one in self.made if one[1] == folder]
        self.made = [one for one in self.made if one[1] != folder] + [(row, folder)]
        if not row.timed:
            self.untimed[folder] = (variant(row, typed), list(typed))
        if asked != row.dataset:
            self.replaced.add((asked, row.dataset))
        if before and not row.timed:
            return  # timed once more, in vain: its line stands above
        remarks = ["was done already"] if was_done else ["timed again"] if before else []
        tqdm.write(line(row, folder, terminal.width(), typed, *remarks), file=sys.stdout)

    def fail(self, error: Exception, typed: Sequence[str], ledger: Ledger | None = None) -> None:
        """Report a failed run in one line, and write it down, unless nothing of its command was ever begun."""
        failure = Failure.of(typed, error)
        self.stopped |= isinstance(error, CannotWrite)
        self.report_failure(failure, "".join(traceback.format_exception(error)))
        if ledger is None:
            return
        with contextlib.suppress(CannotWrite):
            if ledger.outputs in self.recorded:
                ledger.failed(failure.typed, failure.message, failure.final)
            elif not isinstance(error, BadSetting) or ledger.has(self.command, self.runs):
                self.record(ledger)

    def report_failure(self, failure: Failure, trace: str) -> None:
        """Report a failed run in one line; where tracebacks were asked for, with `trace` above it."""
        if self.tracebacks:
            tqdm.write(trace, file=sys.stderr)
        known = any(one.message == failure.message for one in self.failures)
        self.failures.append(failure)
        prefix = f"error in {' '.join(failure.typed)}: " if self.several else "error: "
        tqdm.write(prefix + ("the same as above" if known else failure.message), file=sys.stderr)

    def record(self, ledger: Ledger) -> None:
        """Write down the command, once, and the runs of it that failed before. Raises `CannotWrite`.

        From here on it counts among the processes that are at work on these outputs.
        """
        if ledger.outputs in self.recorded or not self.command:
            return
        # Between its runs too, no other kdbench shall begin any.
        self.held.enter_context(processes.at_work(ledger.outputs, release()))
        ledger.write_command(self.command, self.runs)
        self.recorded.add(ledger.outputs)
        for failure in self.failures:
            ledger.failed(failure.typed, failure.message, failure.final)

    def finish(self) -> None:
        """Do what was left to other processes, as soon as they are done with it, time again, and close the bar."""
        if self.postponed and not self.stopped:
            log.warning("waiting for other processes, which do %d of the runs", len(self.postponed))
        for run in self.postponed:
            self.perform(run, wait=True)
        if self.planned and not self.stopped:  # what workers do is timed again by them
            self.time_again()
        if self.bar is not None:
            self.bar.set_postfix_str("")
            self.bar.close()

    def time_again(self) -> None:
        """Do once more what was disturbed while it was timed: who disturbed it may have gone by now."""
        for typed in self.take_untimed():
            self.perform(self.planned[typed], wait=True)

    def take_untimed(self) -> list[tuple[str, ...]]:
        """Return, as typed, the runs that were disturbed while they were timed, which are to be done once more."""
        disturbed, self.untimed = [tuple(typed) for _, typed in self.untimed.values()], {}
        if self.bar is not None and disturbed:
            self.bar.reset(total=len(disturbed))
            self.bar.set_description_str("timing again what others disturbed")
        return disturbed


def but_seed(typed: Sequence[str]) -> tuple[str, ...]:
    """Return what the runs of one variant under several seeds have in common."""
    return tuple(setting for setting in typed if not setting.startswith("seed="))
