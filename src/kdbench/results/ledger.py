"""Which commands were given, and how each of their runs ended last: one small JSON file each. Imports no torch.

A command is written down once one of its runs has got past its settings. A run is known by its settings as typed:
what it came to is in its own folder, whose place is remembered here. Where its data lie is no part of what it is, but
may be why it failed: the error of the last try is remembered for the `data.root` that was typed.
"""

from __future__ import annotations

import functools
import json
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kdbench.errors import BadSetting, DamagedFile, KdbenchError
from kdbench.settings import schema
from kdbench.settings.choices import GROUPS, chosen_by_default, config_dir, options
from kdbench.settings.choices import read as read_choice
from kdbench.settings.config import digest
from kdbench.storage import durable, locks

ROOT = "data.root"
IN_PARTS = ("compress", "reproduce", "search")  # commands that launch several multiruns, one after the other
TypedRun = Sequence[str]
"""The settings of one run, as typed: `model=cnn_deep compress=prune seed=1`."""


@dataclass(frozen=True)
class Command:
    """A command line, without `kdbench` in front, and the runs that it consists of."""

    name: str  # of its record
    arguments: list[str]
    runs: list[list[str]]
    when: float  # it was typed last, in seconds since 1970
    where: str  # the folder in which it was
    outputs: str  # the folder that it wrote to
    others: tuple[str, ...] = ()  # records of the same command, which launched its runs in several parts

    @property
    def records(self) -> tuple[str, ...]:
        """The names of all its records."""
        return (self.name, *self.others)


@dataclass(frozen=True)
class LastTry:
    """The folder of a run, below `outputs`, if it got that far, and why its last try failed, if it did."""

    folder: str | None = None
    error: str | None = None
    final: bool = False  # whether another try would fail alike


def joined(commands: Sequence[Command]) -> list[Command]:
    """Return the commands, those that launch their runs in several parts as one each, where its first part stood."""
    found: dict[tuple[str, ...], Command] = {}
    for command in commands:
        several = bool(command.arguments) and command.arguments[0] in IN_PARTS
        key = (*command.arguments, command.where, command.outputs) if several else (command.name,)
        if key not in found:
            found[key] = command
            continue
        first = found[key]
        runs = [*first.runs, *(run for run in command.runs if run not in first.runs)]
        found[key] = replace(first, runs=runs, others=(*first.others, command.name))
    return list(found.values())


class Ledger:
    """The records under `outputs`. Writing raises `CannotWrite`."""

    def __init__(self, outputs: Path) -> None:
        self.outputs = outputs
        self.folder = outputs / "ledger"

    def has(self, arguments: Sequence[str], runs: Sequence[TypedRun]) -> bool:
        """Whether a command is written down."""
        return self._command(command_name(arguments, runs)).exists()

    def write_command(self, arguments: Sequence[str], runs: Sequence[TypedRun]) -> None:
        """Write down a command."""
        record = {"arguments": list(arguments), "runs": [list(run) for run in runs], "when": time.time()}
        places = {"where": str(Path.cwd()), "outputs": str(self.outputs.absolute())}
        self._write(self._command(command_name(arguments, runs)), record | places)

    def commands(self) -> tuple[list[Command], list[str]]:
        """Return the commands in the order in which they were given, and a line for each unreadable record."""
        found, unreadable = [], []
        for path in (self.folder / "commands").glob("*.json"):
            try:
                record = read(path)
                runs = [[text(setting) for setting in run] for run in record["runs"]]
                arguments = [text(argument) for argument in record["arguments"]]
                places = text(record["where"]), text(record["outputs"])
                found.append(Command(path.stem, arguments, runs, float(record["when"]), *places))
            except (KeyError, TypeError, ValueError, OverflowError, KdbenchError) as error:
                forget = shlex.join(["kdbench", "status", str(self.outputs), "--forget", path.stem])
                unreadable.append(f"{path}: not the record of a command ({error}); to remove it: {forget}")
        return joined(sorted(found, key=lambda command: command.when)), sorted(unreadable)

    def forget(self, name: str) -> None:
        """Remove the record of this name, readable or not. Raises `BadSetting` if there is none."""
        commands = {one.name: one.records for one in self.commands()[0]}
        if name not in {path.stem for path in (self.folder / "commands").glob("*.json")}:
            raise BadSetting(f"no command is called {name}: kdbench status {self.outputs} names those that failed")
        for record in commands.get(name, (name,)):
            with durable.writing(self._command(record)):
                self._command(record).unlink(missing_ok=True)

    def started(self, run: TypedRun, folder: Path) -> None:
        """Remember the folder of a run, and that nothing is known against it."""
        place = LastTry(str(folder.relative_to(self.outputs)))
        for path in (self._run(run), self._try(run)):
            if self._read_or_none(path) != place:
                self._write(path, asdict(place))

    def failed(self, run: TypedRun, reason: str, final: bool) -> None:
        """Remember why the last try of a run failed; `final`: another would fail alike."""
        before = self._read_or_none(self._try(run))
        self._write(self._try(run), asdict(LastTry(before.folder if before else None, reason, final)))

    def last_try(self, run: TypedRun) -> LastTry | None:
        """Return what is known of a run, or None if it was never begun. Raises `DamagedFile`."""
        return self._read(self._try(run)) or self._read(self._run(run))

    def lock(self, run: TypedRun) -> Path:
        """Return the lock that is held by the process which does the run."""
        return self.outputs / "locks" / "jobs" / key(run)

    def _read(self, path: Path) -> LastTry | None:
        if not path.exists():
            return None
        try:
            record = read(path)
            folder, error = (None if record[name] is None else text(record[name]) for name in ("folder", "error"))
            if folder is not None and not (self.outputs / folder).resolve().is_relative_to(self.outputs.resolve()):
                raise ValueError(f"{folder} lies outside")
        except (OSError, KeyError, TypeError, ValueError, KdbenchError) as why:
            raise DamagedFile(f"{path} is not the record of a run ({why}): the same command writes it anew") from why
        return LastTry(folder, error, record.get("final") is True)

    def _read_or_none(self, path: Path) -> LastTry | None:
        try:
            return self._read(path)
        except DamagedFile:
            return None

    def _command(self, name: str) -> Path:
        return self.folder / "commands" / f"{name}.json"

    def _run(self, run: TypedRun) -> Path:
        return self.folder / "runs" / f"{key(run)}.json"

    def _try(self, run: TypedRun) -> Path:
        return self.folder / "runs" / f"{key(run)}-{digest(root_of(run))[:8]}.json"

    def _write(self, path: Path, record: Mapping[str, Any]) -> None:
        durable.folder(path.parent)
        with locks.held(self.outputs / "locks" / "ledger", "the ledger", quiet=True):
            durable.sweep(path.parent, path.name)
            durable.write(path, json.dumps(record, indent=1).encode())


def key(run: TypedRun) -> str:
    """Return 16 hex digits that are equal for settings that come to the same, wherever the same data lie."""
    last = by_name(run)
    aside = {setting.name for setting in schema.SETTINGS if setting.decides == "nothing"}
    if not is_one_data_set(last.get("data", "").partition("=")[2] or chosen_by_default()["data"]):
        aside -= {ROOT}
    kept = {setting for name, setting in last.items() if name not in aside and not name.startswith("hydra")}
    if all(keeps_defaults(name, setting.partition("=")[2]) for name, setting in last.items()):
        kept -= defaults()
    return digest(sorted(kept))[:16]


def root_of(run: TypedRun) -> str:
    """Return where the data were said to lie, or "" if that was not typed."""
    value = by_name(run).get(ROOT, "").partition("=")[2]
    return "" if value == "null" else value


@functools.cache
def is_one_data_set(name: str) -> bool:
    """Whether a choice of data is the same wherever it lies, and not whatever the folder holds."""
    path = options("data", [config_dir()]).get(name)
    return path is not None and "called" not in read_choice(path)


def by_name(run: TypedRun) -> dict[str, str]:
    """Return the settings of a run by their names; the last of one name counts."""
    return {setting.lstrip("+~").partition("=")[0]: setting.lstrip("+~") for setting in run}


def keeps_defaults(name: str, value: str) -> bool:
    """Whether a setting is none that may change the others: an experiment, or a choice of the user's own."""
    if name.startswith("experiment"):
        return False
    return name not in GROUPS or value in options(name, [config_dir()])


def defaults() -> set[str]:
    """Return the settings that hold where nothing is typed, as one would type them; a model chooses its `train`."""
    chosen = {f"{group}={name}" for group, name in chosen_by_default().items() if group != "train"}
    # What a data set has besides its files is for its YAML to say.
    return chosen | {f"{one.name}={one.shown}" for one in schema.SETTINGS if not one.name.startswith("data.")}


def command_name(arguments: Sequence[str], runs: Sequence[TypedRun]) -> str:
    """Return what the record of a command is called."""
    return digest([list(arguments), [list(run) for run in runs]])[:8]


def read(path: Path) -> dict[str, Any]:
    """Return a record. Raises `DamagedFile`, `CannotRead`, or `ValueError` if it is none."""
    try:
        record = json.loads(durable.read(path))
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    if not isinstance(record, dict):
        raise ValueError("it is not a mapping")
    return record


def text(value: object) -> str:
    """Return `value`, which is to be a text. Raises `TypeError` for anything else: a record may come from anyone."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value
