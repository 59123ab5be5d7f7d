"""The real command in processes of its own: started from nothing, or forked from one that has imported everything.

A start costs seconds of imports, which only some tests need to wait for; all else of the two is alike.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from kdbench.cli.main import entry

# With what these import: all that a run, a table and charts need.
IMPORTED = ["kdbench.experiment", "kdbench.cli.hydra_app", "kdbench.results.table", "kdbench.cli.plot"]
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(IMPORTED)


class Command:
    """What both have: a folder to run in, that of `outputs`, and files for what is said, far from what is written."""

    def __init__(self, outputs: Path) -> None:
        self.folder = outputs.parent
        self.told = tempfile.TemporaryDirectory(prefix="kdbench-")
        self.files = [Path(self.told.name) / name for name in ("out", "err")]

    @property
    def out(self) -> str:
        """What it has written to its standard output."""
        return self.files[0].read_text()

    @property
    def err(self) -> str:
        """What it has written to its standard error."""
        return self.files[1].read_text()


class Start(Command):
    """A command in a fresh Python."""

    def __init__(self, outputs: Path, *arguments: str) -> None:
        super().__init__(outputs)
        with self.files[0].open("w") as out, self.files[1].open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "kdbench", *arguments],
                cwd=self.folder,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                stdout=out,
                stderr=err,
                # Tests started in the background of a script ignore Ctrl-C, and so would what they start.
                preexec_fn=heed_interrupts,
            )

    def wait(self, seconds: float | None = None) -> int | None:
        """Return its exit status, or None if it still runs after so many seconds."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.process.kill()
        self.process.wait()


def heed_interrupts() -> None:
    """Let SIGINT end this process, whatever its parent does about it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Fork(Command):
    """A command as the fork of a process that has imported everything."""

    def __init__(self, outputs: Path, *arguments: str) -> None:
        super().__init__(outputs)
        self.process = FORKS.Process(target=become, args=(self.folder, self.files, arguments))
        self.process.start()

    def wait(self, seconds: float | None = None) -> int | None:
        """Return its exit status, or None if it still runs after so many seconds."""
        self.process.join(seconds)
        return self.process.exitcode

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.process.kill()
        self.process.join()


def become(folder: Path, files: Sequence[Path], arguments: Sequence[str]) -> None:
    """Be the command: in its folder, with its output in files, and its arguments where it looks for them."""
    os.chdir(folder)
    for descriptor, path in enumerate(files, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.argv = ["kdbench", *arguments]
    raise SystemExit(entry())
