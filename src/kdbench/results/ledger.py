"""What was asked for, and what became of it: one small file a command and one a job. Imports no torch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kdbench import durable, locks
from kdbench.config import digest
from kdbench.errors import DamagedFile
from kdbench.sealed import seal_record, unseal_record

# Settings that decide neither what a job makes nor where it is found.
ASIDE = ("outputs", "again", "trust", "checkpoint_seconds", "seeds_together", "data.root", "data.cache")

Job = Sequence[str]
"""The settings of one run, as typed: `model=cnn_deep compress=prune seed=1`."""


@dataclass(frozen=True)
class Command:
    """A command line, without `kdbench` in front, and the jobs that it consists of."""

    arguments: list[str]
    jobs: list[list[str]]
    when: float  # it was typed last, in seconds since 1970


@dataclass(frozen=True)
class Outcome:
    """How a job ended: in the folder of a run (its path below `outputs`), or with a reason."""

    run: str | None
    error: str | None


class Ledger:
    """The records under `outputs`. Writing raises `CannotWrite`."""

    def __init__(self, outputs: Path) -> None:
        self.outputs = outputs
        self.folder = outputs / "ledger"

    def command(self, arguments: Sequence[str], jobs: Sequence[Job]) -> None:
        """Remember that a command was given."""
        record = {"arguments": list(arguments), "jobs": [list(job) for job in jobs], "when": time.time()}
        self._write("commands", digest([list(arguments), record["jobs"]])[:16], record)

    def commands(self) -> tuple[list[Command], list[str]]:
        """Return the commands in the order in which they were given, and a line for each damaged record."""
        found, damaged = [], []
        for path in (self.folder / "commands").glob("*.json"):
            try:
                record = unseal_record(path.stem, path.read_bytes())
                jobs = [list(map(text, job)) for job in record["jobs"]]
                found.append(Command(list(map(text, record["arguments"])), jobs, float(record["when"])))
            except (OSError, KeyError, TypeError, ValueError, DamagedFile) as error:
                damaged.append(f"{path}: {error}")
        return sorted(found, key=lambda command: command.when), sorted(damaged)

    def withdraw(self, arguments: Sequence[str], jobs: Sequence[Job]) -> None:
        """Forget a command."""
        name = digest([list(arguments), [list(job) for job in jobs]])[:16]
        (self.folder / "commands" / f"{name}.json").unlink(missing_ok=True)

    def done(self, job: Job, folder: Path) -> None:
        """Remember the folder of a job's run."""
        self._write("jobs", self.key(job), {"run": str(folder.relative_to(self.outputs)), "error": None})

    def failed(self, job: Job, reason: str) -> None:
        """Remember why a job failed."""
        self._write("jobs", self.key(job), {"run": None, "error": reason})

    def outcome(self, job: Job) -> Outcome | None:
        """Return how a job ended last, or None if nothing readable is known of it."""
        path = self.folder / "jobs" / f"{self.key(job)}.json"
        try:
            record = unseal_record(path.stem, path.read_bytes())
            run, error = (None if record[name] is None else text(record[name]) for name in ("run", "error"))
            inside = (self.outputs / (run or "")).resolve().is_relative_to(self.outputs.resolve())
        except (OSError, KeyError, TypeError, ValueError, DamagedFile):
            return None  # it is done, if it is, at once when it is asked for again
        return Outcome(run, error) if inside else None

    def lock(self, job: Job) -> Path:
        """Return the lock that who does the job holds."""
        return self.outputs / "locks" / "jobs" / self.key(job)

    @staticmethod
    def key(job: Job) -> str:
        """Return 16 hex digits that are equal for settings that come to the same."""
        names = {text: text.lstrip("+~").partition("=")[0] for text in job}
        kept = [text for text, name in names.items() if name not in ASIDE and not name.startswith("hydra")]
        return digest(sorted(kept))[:16]

    def _write(self, kind: str, name: str, record: dict[str, object]) -> None:
        path = durable.folder(self.folder / kind) / f"{name}.json"
        with locks.held(self.outputs / "locks" / "ledger", "the ledger", quiet=True):
            durable.sweep(path.parent, path.name)
            durable.write(path, seal_record(name, record))


def text(value: object) -> str:
    """Return `value`, which is to be a text. Raises `TypeError` for anything else: a record may come from anyone."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value
