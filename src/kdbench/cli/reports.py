"""What the workers of a launcher tell the command that started them: a file a job, in the folder of the multirun.

All see that folder, wherever they run; where one does not, its machine has another `outputs`, and it says so.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from kdbench.errors import BadSetting
from kdbench.storage import durable
from kdbench.version import __version__

COMMAND, BEGUN, STOP = "command.json", "begun", "stop"
ENDING = ".report"
LOOK_SECONDS = 0.5
STOPPED = 130  # the exit status of a worker whose command was interrupted


@dataclass(frozen=True)
class Report:
    """How a job ended: its settings as typed, and the folder of its row, or why there is none."""

    typed: list[str]
    data: str = ""  # the data set that was asked for
    folder: str | None = None
    was_done: bool = False
    error: str | None = None
    final: bool = False  # another try would fail alike
    stops: bool = False  # nothing can be written any more: the others need not begin
    trace: str = ""  # where an error was raised
    warnings: list[str] = field(default_factory=list)
    unpushed: list[str] = field(default_factory=list)  # what waits for an object store


class Reports:
    """The reports in a folder. Writing raises `CannotWrite`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self) -> None:
        """Let workers find the folder."""
        durable.folder(self.folder)
        durable.write(self.folder / COMMAND, json.dumps({"version": __version__}).encode())

    @property
    def shared(self) -> bool:
        """Whether this machine sees the folder of the command."""
        return (self.folder / COMMAND).exists()

    def require_shared(self, outputs: Path) -> None:
        """Raise `BadSetting` where this machine does not see what the command wrote, or has another kdbench."""
        here = platform.node()
        try:
            version = json.loads(durable.read(self.folder / COMMAND))["version"]
        except Exception as error:
            raise BadSetting(
                f"outputs={outputs} of {here} is not where the command writes: type outputs=FOLDER with one that all "
                "machines share, or an object store (s3://, gs://)"
            ) from error
        if version != __version__:
            raise BadSetting(f"{here} has kdbench {__version__}, where the command has {version}: install that")

    def write(self, job: int, report: Report) -> None:
        """Say how a job ended."""
        durable.write(self.folder / f"{job}{ENDING}", json.dumps(asdict(report)).encode())

    def take(self) -> dict[int, Report]:
        """Return what was written since the last call, by the numbers of the jobs."""
        found = {}
        for path in sorted(self.folder.glob(f"*{ENDING}")):
            found[int(path.stem)] = Report(**json.loads(durable.read(path)))
            with contextlib.suppress(OSError):
                path.unlink()
        return found

    def stop(self) -> None:
        """Let the workers end at once, those too that have not begun."""
        with contextlib.suppress(OSError):
            (self.folder / STOP).touch()

    @property
    def begun(self) -> bool:
        """Whether any worker has come so far as to find the folder."""
        return (self.folder / BEGUN).exists()

    @property
    def stopped(self) -> bool:
        """Whether the command was interrupted."""
        return (self.folder / STOP).exists()

    def close(self) -> None:
        """Remove the folder, once all have ended."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def obeyed(self) -> Iterator[None]:
        """A context in which this process ends as soon as the command is interrupted: all writing is whole or not."""
        if self.shared:
            (self.folder / BEGUN).touch()
        over = threading.Event()

        def look() -> None:
            while not over.wait(LOOK_SECONDS):
                if self.stopped:
                    os._exit(STOPPED)

        threading.Thread(target=look, daemon=True).start()
        try:
            yield
        finally:
            over.set()
