"""What the workers of a launcher report to the command that started them: a file a job, where the multirun lies.

All see that folder, wherever they run; where one does not, its machine has another `outputs`, and it says so.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import signal
import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from kdbench.errors import BadSetting, Busy, KdbenchError
from kdbench.settings.config import Config
from kdbench.settings.identity import code_of_row, release
from kdbench.storage import durable, locks

COMMAND, STOP = "command.json", "stop"
BEGUN, ENDED = ".begun", ".report"  # of files, behind the number of a job
LOOK_SECONDS = 0.5
STOPPED = 130  # the exit status of a worker whose command was interrupted


@dataclass(frozen=True)
class Report:
    """How a job ended: its settings as typed, and the folder of its row, or why there is none.

    With neither, it was not begun, since the command had been interrupted.
    """

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
    host: str = field(default_factory=platform.node)


class Reports:
    """The reports in a folder. Writing raises `CannotWrite`.

    `codes` are those of the code that decides the rows of a command (`Config.code`), as it stands when that begins.
    """

    def __init__(self, folder: Path, codes: Iterable[str] = ()) -> None:
        self.folder = folder
        self.codes = sorted(codes)

    @contextlib.contextmanager
    def of_this_command(self) -> Iterator[None]:
        """A context in which the folder is that of this command alone. Raises `BadSetting` if it is another's."""
        with contextlib.ExitStack() as stack:
            try:
                lock = self.folder.with_name(f"{self.folder.name}.lock")
                stack.enter_context(locks.held(lock, "a sweep", wait=False))
            except Busy as error:
                raise BadSetting(
                    f"another command has hydra.sweep.dir={self.folder.parent}: type another, or none"
                ) from error
            stack.callback(lock.unlink, missing_ok=True)
            self.begin()
            yield

    def begin(self) -> None:
        """Let workers find the folder, without what an earlier command has left in it.

        Raises `BadSetting` for a folder that no command has made.
        """
        if self.folder.exists() and any(self.folder.iterdir()) and not self.shared:
            raise BadSetting(f"{self.folder} is no folder of kdbench's: type another hydra.sweep.dir, or none")
        self.close()
        durable.folder(self.folder)
        command = {"release": release(), "host": platform.node(), "process": os.getpid(), "codes": self.codes}
        durable.write(self.folder / COMMAND, json.dumps(command).encode())

    @property
    def shared(self) -> bool:
        """Whether this machine sees the folder of the command."""
        return (self.folder / COMMAND).exists()

    def require_shared(self, outputs: Path) -> None:
        """Raise `BadSetting` where this machine does not see what the command wrote, or has another kdbench."""
        here = platform.node()
        try:
            other = json.loads(durable.read(self.folder / COMMAND))["release"]
        except Exception as error:
            raise BadSetting(
                f"outputs={outputs} of {here} is not where the command writes: type outputs=FOLDER with one that all "
                "machines share, or an object store (s3://, gs://)"
            ) from error
        if other != (own := release()):
            raise BadSetting(f"{here} has kdbench {own}, where the command has {other}: install the same")

    def require_same_code(self, config: Config) -> None:
        """Raise `KdbenchError` where the code that decides a row is not that of the command, if that is seen here."""
        if not self.shared:
            return
        codes = json.loads(durable.read(self.folder / COMMAND)).get("codes")
        if codes and code_of_row(config) not in codes:
            raise KdbenchError(
                f"the Python files, or packages, that decide this row on {platform.node()} are not those that the "
                "command began with: type it again, once all machines have the same"
            )

    def write(self, job: int, report: Report) -> None:
        """Say how a job ended."""
        durable.write(self.folder / f"{job}{ENDED}", json.dumps(asdict(report)).encode())

    def take(self) -> dict[int, Report]:
        """Return what was written since the last call, by the numbers of the jobs. What cannot be read is left."""
        found = {}
        for path in sorted(self.folder.glob(f"*{ENDED}")):
            with contextlib.suppress(KdbenchError, ValueError, TypeError):
                found[int(path.stem)] = Report(**json.loads(durable.read(path)))
                with contextlib.suppress(OSError):
                    path.unlink()
        return found

    def stop(self) -> None:
        """Let the workers end at once, those too that have not begun."""
        with contextlib.suppress(OSError):
            (self.folder / STOP).touch()

    @property
    def begun(self) -> set[int]:
        """The numbers of the jobs that workers have begun."""
        return {int(path.stem) for path in self.folder.glob(f"*{BEGUN}")}

    @property
    def stopped(self) -> bool:
        """Whether the command was interrupted."""
        return (self.folder / STOP).exists()

    def close(self) -> None:
        """Remove the folder, once all have ended."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def at_work(self, job: int) -> Iterator[None]:
        """A context in which the job counts as begun, and this process ends as soon as the command is interrupted.

        All writing is whole or not. The command itself, which some launchers let do a job, sees to its own end.
        """
        if not self.shared:
            yield
            return
        (self.folder / f"{job}{BEGUN}").touch()
        command = json.loads(durable.read(self.folder / COMMAND))
        if (command["host"], command["process"]) == (platform.node(), os.getpid()):
            yield
            return
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to workers too
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
