"""The real command in processes of its own: started from nothing, or forked from one that has imported everything.

A start costs seconds of imports, which kills at work need not wait for; all else of the two is alike.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from kdbench import cli

# What a run, the table and the charts import, now or later.
IMPORTED = ["kdbench.experiment", "kdbench.launch", "kdbench.results.table", "kdbench.plots.command"]
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(IMPORTED)


def start(outputs: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the real command from nothing, beside its folder `outputs`."""
    return subprocess.Popen(
        [sys.executable, "-m", "kdbench", *arguments],
        cwd=outputs.parent,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def run(outputs: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the real command to its end."""
    process = start(outputs, *arguments)
    out, err = process.communicate()
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


class Fork:
    """The real command, beside its folder `outputs`, as the fork of a process in which everything is imported."""

    def __init__(self, outputs: Path, *arguments: str) -> None:
        self.place = tempfile.TemporaryDirectory(prefix="kdbench-")  # for what it says, not beside what it writes
        self.files = [Path(self.place.name) / name for name in ("out", "err")]
        self.process = FORKS.Process(target=command, args=(outputs.parent, self.files, arguments))
        self.process.start()

    def wait(self, seconds: float | None = None) -> int | None:
        """Return its exit status, or None if it still runs after so many seconds."""
        self.process.join(seconds)
        return self.process.exitcode

    def kill(self) -> None:
        """End it as SIGKILL does."""
        self.process.kill()
        self.process.join()

    @property
    def out(self) -> str:
        """What it has written to its standard output."""
        return self.files[0].read_text()

    @property
    def err(self) -> str:
        """What it has written to its standard error."""
        return self.files[1].read_text()


def command(folder: Path, files: Sequence[Path], arguments: Sequence[str]) -> None:
    """Become the command: in its folder, with its output in files, and its arguments where it looks for them."""
    os.chdir(folder)
    for descriptor, path in enumerate(files, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.argv = ["kdbench", *arguments]
    raise SystemExit(cli.entry())
