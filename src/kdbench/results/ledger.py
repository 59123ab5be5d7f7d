"""What was asked for, and what became of it: one small file a command and one a job. Imports no torch."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdbench.errors import BadSetting, CannotRead, DamagedFile
from kdbench.results.row import FILE
from kdbench.settings.choices import GROUPS, config_dir, defaults, options
from kdbench.settings.config import digest
from kdbench.storage import durable, locks
from kdbench.storage.checksums import seal_record, unseal_record

# Settings that decide neither what a job makes nor where it is found.
ASIDE = ("outputs", "again", "trust", "checkpoint_seconds", "seeds_together", "data.root", "data.cache")

Job = Sequence[str]
"""The settings of one run, as typed: `model=cnn_deep compress=prune seed=1`."""


@dataclass(frozen=True)
class Command:
    """A command line, without `kdbench` in front, and the jobs that it consists of."""

    name: str  # of its record
    arguments: list[str]
    jobs: list[list[str]]
    when: float  # it was typed last, in seconds since 1970
    where: str  # the folder in which it was
    outputs: str  # the folder that it wrote to


@dataclass(frozen=True)
class Outcome:
    """How a job ended: in the folder of a run (its path below `outputs`) or with a reason; or it was cut off."""

    run: str | None
    error: str | None
    final: bool = False  # whether another try would fail alike


class Ledger:
    """The records under `outputs`. Writing raises `CannotWrite`."""

    def __init__(self, outputs: Path) -> None:
        self.outputs = outputs
        self.folder = outputs / "ledger"

    def command(self, arguments: Sequence[str], jobs: Sequence[Job]) -> bool:
        """Remember that a command was given, and return whether it never was before."""
        new = not (self.folder / "commands" / f"{command_name(arguments, jobs)}.json").exists()
        record: dict[str, object] = {"arguments": list(arguments), "jobs": [list(job) for job in jobs]}
        record |= {"when": time.time(), "where": str(Path.cwd()), "outputs": str(self.outputs.absolute())}
        self._write("commands", command_name(arguments, jobs), record)
        return new

    def commands(self) -> tuple[list[Command], list[str]]:
        """Return the commands in the order in which they were given, and a line for each damaged record."""
        found, damaged = [], []
        for path in (self.folder / "commands").glob("*.json"):
            try:
                record = unseal_record(path.stem, durable.read(path))
                jobs = [list(map(text, job)) for job in record["jobs"]]
                arguments = list(map(text, record["arguments"]))
                places = text(record["where"]), text(record["outputs"])
                found.append(Command(path.stem, arguments, jobs, float(record["when"]), *places))
            except (OSError, KeyError, TypeError, ValueError, OverflowError, DamagedFile, CannotRead) as error:
                forget = shlex.join(["kdbench", "status", str(self.outputs), "--forget", path.stem])
                damaged.append(f"{path}: not the record of a command ({error}); to remove it: {forget}")
        return sorted(found, key=lambda command: command.when), sorted(damaged)

    def forget(self, name: str) -> None:
        """Forget the command whose record has this name, damaged or not. Raises `BadSetting` if there is none."""
        records = {path.stem: path for path in (self.folder / "commands").glob("*.json")}
        if name not in records:
            raise BadSetting(f"no command is called {name}: kdbench status {self.outputs} names those that failed")
        with durable.told(records[name]):
            records[name].unlink(missing_ok=True)

    def withdraw(self, arguments: Sequence[str], jobs: Sequence[Job]) -> None:
        """Forget a command that came to nothing, and how its jobs ended."""
        (self.folder / "commands" / f"{command_name(arguments, jobs)}.json").unlink(missing_ok=True)
        for job in jobs:
            self._path(job).unlink(missing_ok=True)

    def begun(self, job: Job) -> bool:
        """Remember that a job was begun, until it ends; of one that ended well before, nothing changes.

        Return whether it never was before.
        """
        outcome = self.outcome(job)
        if outcome is None or outcome.run is None:
            self._write("jobs", self.key(job), {"run": None, "error": None, "final": False})
        return outcome is None

    def done(self, job: Job, folder: Path) -> None:
        """Remember the folder of a job's run."""
        self._write(
            "jobs", self.key(job), {"run": str(folder.relative_to(self.outputs)), "error": None, "final": True}
        )

    def failed(self, job: Job, reason: str, final: bool) -> None:
        """Remember why a job failed; `final`: another try would fail alike. A row that stands is not forgotten."""
        before = self.outcome(job)
        stands = before is not None and before.run is not None and (self.outputs / before.run / FILE).exists()
        run = before.run if before is not None and stands else None
        self._write("jobs", self.key(job), {"run": run, "error": reason, "final": final})

    def outcome(self, job: Job) -> Outcome | None:
        """Return how a job ended last, or None if nothing readable is known of it."""
        path = self._path(job)
        try:
            record = unseal_record(path.stem, durable.read(path))
            run, error = (None if record[name] is None else text(record[name]) for name in ("run", "error"))
            inside = (self.outputs / (run or "")).resolve().is_relative_to(self.outputs.resolve())
        except (OSError, KeyError, TypeError, ValueError, DamagedFile, CannotRead):
            return None  # it is done, if it is, at once when it is asked for again
        return Outcome(run, error, record.get("final") is True) if inside else None

    def lock(self, job: Job) -> Path:
        """Return the lock that who does the job holds."""
        return self.outputs / "locks" / "jobs" / self.key(job)

    @staticmethod
    def key(job: Job) -> str:
        """Return 16 hex digits that are equal for settings that come to the same."""
        last = {text.lstrip("+~").partition("=")[0]: text for text in job}
        kept = {text for name, text in last.items() if name not in ASIDE and not name.startswith("hydra")}
        if not any(name.startswith("experiment") for name in last) and ships_all(last):
            kept -= defaults()  # which an experiment or a YAML of one's own could change
        return digest(sorted(kept))[:16]

    def _path(self, job: Job) -> Path:
        return self.folder / "jobs" / f"{self.key(job)}.json"

    def _write(self, kind: str, name: str, record: dict[str, object]) -> None:
        path = durable.folder(self.folder / kind) / f"{name}.json"
        with locks.held(self.outputs / "locks" / "ledger", "the ledger", quiet=True):
            durable.sweep(path.parent, path.name)
            durable.write(path, seal_record(name, record))


def ships_all(settings: Mapping[str, str]) -> bool:
    """Whether the choices among `settings`, as typed, by their names, are all kdbench's own."""
    chosen = {group: settings[group].partition("=")[2] for group in GROUPS if group in settings}
    return all(name in options(group, [config_dir()]) for group, name in chosen.items())


def command_name(arguments: Sequence[str], jobs: Sequence[Job]) -> str:
    """Return what the record of a command is called."""
    return digest([list(arguments), [list(job) for job in jobs]])[:8]


def text(value: object) -> str:
    """Return `value`, which is to be a text. Raises `TypeError` for anything else: a record may come from anyone."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value
