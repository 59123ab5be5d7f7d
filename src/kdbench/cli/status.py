"""`kdbench status`: what of all that was asked for is done, running, failed or missing. Imports no torch."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kdbench.cli.arguments import Arguments
from kdbench.errors import BadSetting, DamagedFile, KdbenchError, printable
from kdbench.results.ledger import Command, Job, Ledger
from kdbench.results.row import FILE, read
from kdbench.results.run_folder import SUMMED, SUMS, damage
from kdbench.storage import durable, locks

STATES = ("done", "running", "failed", "missing")


@dataclass(frozen=True)
class State:
    """Where a job stands: one of `STATES`, and what there is to say of it."""

    name: str
    detail: str = ""
    final: bool = False  # another try would fail alike


def main(arguments: Sequence[str]) -> int:
    """List every job that is not done, and the command that would do it; return 1 if there is one."""
    parser = Arguments(prog="kdbench status", description="What is done, running, failed and missing under FOLDER.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("outputs"), metavar="FOLDER")
    parser.add_argument("--all", action="store_true", help="also list what is done")
    parser.add_argument("--forget", metavar="NAME", help="take a command off the list; what it made stays")
    options = parser.parse_args(arguments)

    if not options.folder.is_dir():
        raise BadSetting(f"there is no folder {options.folder}: give the one that runs write to, such as outputs/")
    ledger = Ledger(options.folder)
    if options.forget is not None:
        ledger.forget(options.forget)
    commands, damaged = ledger.commands()
    for message in damaged:
        print(f"skipped {printable(message)}", file=sys.stderr)
    if not commands and options.forget is not None:
        return 0
    if not commands:
        above = [
            folder for folder in options.folder.absolute().parents if (Ledger(folder).folder / "commands").is_dir()
        ]
        if above:
            raise BadSetting(
                f"nothing was started under {options.folder}: give the folder above it: kdbench status {above[0]}"
            )
        raise BadSetting(f"nothing was started under {options.folder}: kdbench sweep outputs={options.folder}")
    known: dict[str, State] = {}
    unfinished = False
    for command in commands:
        jobs = {ledger.key(job): job for job in command.jobs}
        known |= {key: state(ledger, job) for key, job in jobs.items() if key not in known}
        states = [known[ledger.key(job)] for job in command.jobs]
        unfinished |= any(one.name in ("failed", "missing") for one in states)
        print("\n".join(map(printable, told(command, states, options.folder, options.all))) + "\n")
    return 1 if unfinished or damaged else 0


def state(ledger: Ledger, job: Job) -> State:
    """Return where `job` stands now."""
    if locks.taken(ledger.lock(job)):
        return State("running")
    outcome = ledger.outcome(job)
    if outcome is None:
        return State("missing")
    if outcome.run is None:
        if outcome.error is None:
            return State("missing", "begun, and cut off")
        return State("failed", outcome.error, outcome.final)
    folder = ledger.outputs / outcome.run
    if not os.path.exists(folder / FILE):  # noqa: PTH110 - Path.exists raises for names that are too long
        return State("missing", f"its row in {folder} is gone")
    try:
        row = read(folder / FILE)
    except DamagedFile as error:
        return State("missing", str(error))
    try:
        found = damage(row, {name: durable.read(folder / name) for name in (*SUMMED, SUMS)})
    except KdbenchError as error:
        return State("missing", f"{folder}: {error}")
    if found:
        name, why = found
        return State("missing", f"{folder / name} is damaged: {why}")
    later = f"; a later try failed: {outcome.error}" if outcome.error else ""
    return State("done", f"{row.accuracy:.2%}, {folder}{later}")


def told(command: Command, states: Sequence[State], outputs: Path, everything: bool) -> list[str]:
    """Return the lines that say where a command stands, and how to finish it or be rid of it."""
    counts = {name: sum(one.name == name for one in states) for name in STATES}
    again = "kdbench " + shlex.join(command.arguments)
    to_go_on = again
    if Path(command.outputs).resolve() != outputs.resolve():  # moved or copied since
        kept = [text for text in command.arguments if not text.startswith("outputs=")]
        to_go_on = "kdbench " + shlex.join([*kept, f"outputs={outputs.absolute()}"])
    if Path(command.where) != Path.cwd() and Path(command.where).is_dir():
        to_go_on = f"cd {shlex.quote(command.where)} && {to_go_on}"
    lines = [again, "  " + ", ".join(f"{count} {name}" for name, count in counts.items() if count)]
    for job, one in zip(command.jobs, states, strict=True):
        if everything or one.name != "done":
            detail = f": {one.detail}" if one.detail else ""
            lines.append(f"  {one.name:8} {' '.join(job) or 'the default run'}{detail}")
    if any(one.name == "missing" or (one.name == "failed" and not one.final) for one in states):
        lines.append(f"to finish it, type it again: {to_go_on}")
    if any(one.final for one in states):
        forget = shlex.join(["kdbench", "status", str(outputs), "--forget", command.name])
        lines.append(
            "what failed would fail again as it is: change its settings, or what they name, or take it off the list: "
            + forget
        )
    return lines
