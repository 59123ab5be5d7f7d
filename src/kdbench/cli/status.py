"""`kdbench status`: which of the runs that were asked for are done, running, failed or missing. Imports no torch."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdbench.cli import terminal
from kdbench.cli.arguments import Subparsers, add_folder
from kdbench.errors import BadSetting, DamagedFile, KdbenchError, printable
from kdbench.settings.outputs_url import as_typed

if TYPE_CHECKING:
    from kdbench.results.ledger import Command, Ledger, TypedRun
    from kdbench.results.row import Row

STATES = ("done", "running", "failed", "missing")
LISTED = tuple(f"  {name}" for name in STATES)  # how the lines of runs begin


@dataclass(frozen=True)
class State:
    """Where a run stands: one of `STATES`, and what there is to say of it."""

    name: str
    detail: str = ""
    final: bool = False  # another try would fail alike


def add(subparsers: Subparsers) -> None:
    """Add the command's parser."""
    about = "what is done, running, failed or missing, and how to go on"
    parser = subparsers.add_parser("status", help=about, description=about)
    add_folder(parser)
    parser.add_argument("--all", action="store_true", help="also list what is done")
    parser.add_argument("--forget", metavar="NAME", help="take a command off the list; what it made stays")
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """List every run that is not done, and the command that would do it; return 1 if there is one."""
    from kdbench.results.ledger import Ledger, key, root_of

    if not options.folder.is_dir():
        raise BadSetting(f"there is no folder {options.folder}: give the one that runs write to, such as outputs/")
    ledger = Ledger(options.folder)
    if options.forget is not None:
        ledger.forget(options.forget)
    commands, unreadable = ledger.commands()
    for message in unreadable:
        print(f"skipped {printable(message)}", file=sys.stderr)
    if not commands and options.forget is None and not unreadable:
        raise nothing_under(options.folder)
    known: dict[tuple[str, str], State] = {}
    for command in commands:
        names = [(key(run), root_of(run)) for run in command.runs]
        for name, run in zip(names, command.runs, strict=True):
            if name not in known:
                known[name] = state(ledger, run)
        states = [known[name] for name in names]
        for line in report(command, states, options.folder, options.all):
            # Commands stay in one line, so that they can be copied.
            print(terminal.wrapped(printable(line), indent=11) if line.startswith(LISTED) else printable(line))
        print()
    unfinished = any(one.name in ("failed", "missing") for one in known.values())
    return 1 if unfinished or unreadable else 0


def nothing_under(folder: Path) -> BadSetting:
    """Return the error for a folder without commands."""
    above = [place for place in folder.absolute().parents if (place / "ledger" / "commands").is_dir()]
    if above:
        return BadSetting(f"nothing was started under {folder}: give the folder above it: kdbench status {above[0]}")
    typed = as_typed(folder)
    if any(folder.glob("runs/*/*")):
        return BadSetting(f"nothing was started here under {typed}, but runs are there: kdbench table {typed}")
    return BadSetting(f"nothing was started under {typed}: kdbench sweep outputs={typed}")


def state(ledger: Ledger, run: TypedRun) -> State:
    """Return where a run stands.

    Running while a process holds its lock; else done if its folder holds a whole row; else failed if its last try
    failed; else missing.
    """
    from kdbench.storage import locks

    if locks.taken(ledger.lock(run)):
        return State("running")
    try:
        last = ledger.last_try(run)
    except DamagedFile as error:
        return State("missing", str(error))
    if last is None:
        return State("missing")
    why = "not finished"
    if last.folder is not None:
        folder = ledger.outputs / last.folder
        try:
            row = whole(folder)
        except KdbenchError as error:
            why = str(error)
        else:
            later = f"; a later try failed: {last.error}" if last.error else ""
            return State("done", f"{row.accuracy:.2%}, {folder}{later}")
    return State("failed", last.error, last.final) if last.error else State("missing", why)


def whole(folder: Path) -> Row:
    """Return the row of a run whose files are all as they were written. Raises `DamagedFile` and `CannotRead`."""
    from kdbench.results.row import FILE
    from kdbench.results.run_folder import read_whole

    if not os.path.exists(folder / FILE):  # noqa: PTH110 - Path.exists raises for names that are too long
        raise DamagedFile(f"not finished: {folder} holds no {FILE}")
    try:
        return read_whole(folder)
    except DamagedFile as error:
        raise DamagedFile(f"{error.path or folder} is damaged: {error}") from error


def report(command: Command, states: Sequence[State], outputs: Path, everything: bool) -> list[str]:
    """Return the lines that say where a command stands, and how to finish it or take it off the list."""
    counts = {name: sum(one.name == name for one in states) for name in STATES}
    lines = ["kdbench " + shlex.join(command.arguments)]
    lines.append("  " + ", ".join(f"{count} {name}" for name, count in counts.items() if count))
    for run, one in zip(command.runs, states, strict=True):
        if everything or one.name != "done":
            detail = f": {one.detail}" if one.detail else ""
            lines.append(f"  {one.name:8} {' '.join(run) or 'the default run'}{detail}")
    if any(one.name == "missing" or (one.name == "failed" and not one.final) for one in states):
        lines.append(f"to finish it, type it again: {typed_again(command, outputs)}")
    if any(one.final for one in states):
        forget = shlex.join(["kdbench", "status", str(outputs), "--forget", command.name])
        lines += [
            "what failed would fail again: change its settings, or take it off this list:",
            f"  {forget}",
        ]
    return lines


def typed_again(command: Command, outputs: Path) -> str:
    """Return what to type, here and now, for the same command."""
    arguments = command.arguments
    if Path(command.outputs).resolve() != outputs.resolve():  # moved or copied since
        kept = [argument for argument in arguments if not argument.startswith("outputs=")]
        arguments = [*kept, f"outputs={as_typed(outputs.absolute())}"]
    again = shlex.join(["kdbench", *arguments])
    if Path(command.where) != Path.cwd() and Path(command.where).is_dir():
        return f"cd {shlex.quote(command.where)} && {again}"
    return again
