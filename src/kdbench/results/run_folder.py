"""The folder of one run: row, artifact, configuration, history and log, under a name that says what it holds."""

from __future__ import annotations

import contextlib
import csv
import io
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import yaml

from kdbench.errors import DamagedFile
from kdbench.results.row import FILE, Row, as_csv, read
from kdbench.settings.config import Config, to_plain
from kdbench.settings.earlier_run import CONFIG, WEIGHTS
from kdbench.settings.earlier_run import load_config as load_config
from kdbench.storage import checksums, durable, locks
from kdbench.storage.mirror import Mirror

if TYPE_CHECKING:
    from kdbench.artifact.file import Artifact
    from kdbench.training.progress import Epoch

log = logging.getLogger(__name__)

ARTIFACT, PACKED = "model.onnx", "model.kdz"
HISTORY = "history.csv"
FILES = (ARTIFACT, PACKED, WEIGHTS, HISTORY, CONFIG, FILE)  # all of a finished run, under checksums
LATER = (PACKED, WEIGHTS)  # which not every earlier version wrote


class RunFolder:
    """A context in which no other process makes the same run, and all that kdbench logs also goes to `run.log`.

    `mirror` is what has the runs of other machines, and gets this one.
    """

    def __init__(self, path: Path, config: Config, mirror: Mirror | None = None) -> None:
        self.path = path
        self.config = config
        self.mirror = mirror
        self.entered = contextlib.ExitStack()

    @classmethod
    def of(cls, config: Config, mirror: Mirror | None = None) -> Self:
        """Return the folder of `config`: the same configuration finds the same folder again."""
        return cls(config.outputs / "runs" / config.data.name / config.run_name, config, mirror)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(held(self.path))
            durable.folder(self.path)
            durable.sweep(self.path, "*")
            self.entered = stack.pop_all()
        return self

    def begin(self) -> None:
        """Go on with the log, and write down the configuration. An earlier row and its files stay until `write`."""
        with durable.writing(self.path / "run.log"):
            handler = _LogFile(self.path / "run.log", encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        everything = logging.getLogger("kdbench")
        self.entered.callback(everything.setLevel, everything.level)
        everything.setLevel(logging.DEBUG)
        everything.addHandler(handler)
        self.entered.callback(handler.close)
        self.entered.callback(everything.removeHandler, handler)
        if not (self.path / FILE).exists():
            durable.write(self.path / CONFIG, self._configuration())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, Exception):  # Ctrl-C, or a queue whose time is over
            log.info("interrupted")
        elif error is not None:
            log.debug("the run failed", exc_info=error)
        self.entered.close()

    def finished(self, versions: dict[str, str]) -> Row | None:
        """Return the row, if it was written by this code and these `versions`, and all beside it is what it was then.

        A row without times is not finished: they were disturbed. Damaged files are set aside. A run that is not here
        may be one of another machine.
        """
        row = self._whole()
        if row is None and self.mirror is not None and (files := self.mirror.fetch(self.path, FILES)):
            place(self.path, files)
            row = self._whole()
        if row is None:
            return None
        same_code = (row.variant_hash, row.code_hash) == (self.config.variant, self.config.code["row"])
        same_versions = all(getattr(row, name) == version for name, version in versions.items())
        if not (same_code and same_versions and row.timed):
            return None
        if self.mirror is not None:
            self.mirror.push(self.path)
        return row

    def _whole(self) -> Row | None:
        """Return the row if there is one and all beside it is what was written."""
        if not os.path.lexists(self.path / FILE):
            return None
        try:
            return read_whole(self.path)
        except DamagedFile as error:
            damaged = error.path or self.path / FILE
            if os.path.lexists(damaged):
                durable.set_aside(damaged, str(error).removeprefix(f"{damaged}: "))
            else:
                log.warning("%s: %s, and is made again", self.path, error)
            return None

    def write(self, row: Row, artifact: Artifact, weights: bytes, history: Sequence[Epoch]) -> None:
        """Write the files of the run, and the row last: where there is a row, the rest is whole."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["epoch", "train_loss", "val_loss", "val_accuracy", "seconds", "classes"])
        writer.writerows(asdict(epoch).values() for epoch in history)
        files = {
            ARTIFACT: artifact.content,
            PACKED: artifact.packed,
            WEIGHTS: weights,
            HISTORY: text.getvalue().encode(),
            CONFIG: self._configuration(),
        }
        line = as_csv(row)
        place(self.path, files | {checksums.SUMS: checksums.sums(files | {FILE: line}), FILE: line})
        if self.mirror is not None:
            self.mirror.push(self.path)

    def _configuration(self) -> bytes:
        # Whether it was asked for once more, or is kept elsewhere too, is nothing that a run is.
        plain = to_plain(replace(self.config, again=False, retrain=False, remote=None))
        return yaml.safe_dump(plain, sort_keys=False).encode()


class _LogFile(logging.FileHandler):
    """A log that a full disk cuts short, which what it reports on will meet too."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Lose the line."""

    def close(self) -> None:
        """Lose what cannot be written any more."""
        with contextlib.suppress(OSError):
            super().close()


def held(folder: Path, wait: bool = True) -> contextlib.AbstractContextManager[None]:
    """Return a context in which no other process writes to the folder of a run; raises `Busy` without `wait`."""
    runs = folder.parents[1]
    lock = runs.parent / "locks" / "runs" / folder.relative_to(runs)
    return locks.held(lock, f"the run {folder.name}", wait)


def place(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put the files of a run into its folder, the row last: where there is a row, the rest is whole."""
    ordered = sorted(files, key=lambda name: name == FILE)
    with durable.drafted({folder / name: files[name] for name in ordered}) as put:
        with durable.writing(folder / FILE):
            # An old row must not stand beside a new artifact, not even for a moment.
            (folder / FILE).unlink(missing_ok=True)
        put()


def files_of(folder: Path) -> list[str]:
    """Return which files a run folder is to hold; earlier versions wrote fewer. Raises `DamagedFile`."""
    known = checksums.parse_at(folder)
    return [name for name in FILES if name not in LATER or name in known]


def read_whole(folder: Path) -> Row:
    """Return the row of a run folder in which every file is what was written.

    Raises `DamagedFile`, whose `path` is the file that is not, and `CannotRead`.
    """
    checksums.read(folder, files_of(folder))
    row = read(folder / FILE)
    if checksums.parse_at(folder)[ARTIFACT] != row.artifact_sha256:
        raise DamagedFile("it is not the file that its row describes", folder / ARTIFACT)
    return row
