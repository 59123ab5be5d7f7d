"""The real command in processes of its own: started from nothing, or forked from one that has imported everything.

A start costs seconds of imports, which only some tests need to wait for; all else of the two is alike.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing import forkserver
from pathlib import Path

from tests.faults.shim import exit_before

from kdbench.storage import flock, takeover

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.faults.warm"])


class Command:
    """What both have: a folder to run in, that of `outputs`, and files for what is printed, far from it."""

    def __init__(self, outputs: Path) -> None:
        self.folder = outputs.parent
        self.printed = tempfile.TemporaryDirectory(prefix="kdbench-")
        self.files = [Path(self.printed.name) / name for name in ("out", "err")]

    @property
    def out(self) -> str:
        """What it has written to its standard output."""
        return self.files[0].read_text()

    @property
    def err(self) -> str:
        """What it has written to its standard error."""
        return self.files[1].read_text()

    def wait(self, seconds: float | None = None) -> int | None:
        """Return its exit status, or None if it still runs after so many seconds."""
        raise NotImplementedError

    def wait_until(self, reached: Callable[[], object], seconds: float = 60) -> None:
        """Wait until it has `reached` something. Raises `AssertionError` if it ends before."""
        end = time.monotonic() + seconds
        while not reached():
            assert self.wait(0.005) is None, f"it ended before: {self.err}"
            assert time.monotonic() < end, "it took too long"


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
    """A command as the fork of a process that has imported everything.

    `calls`: it is killed before it changes a disk once more than so many times. `share`: of the time that a training
    takes, what its checkpoints may take. `lease`: in place of `LEASE_SECONDS`. `elsewhere`: as on another machine.
    """

    def __init__(
        self,
        outputs: Path,
        *arguments: str,
        calls: int | None = None,
        share: float | None = None,
        lease: float | None = None,
        elsewhere: bool = False,
    ) -> None:
        super().__init__(outputs)
        serve()
        given = (self.folder, self.files, arguments, calls, share, lease, elsewhere)
        self.process = FORKS.Process(target=become, args=given)
        self.process.start()

    def wait(self, seconds: float | None = None) -> int | None:
        """Return its exit status, or None if it still runs after so many seconds."""
        self.process.join(seconds)
        return self.process.exitcode

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.process.kill()
        self.process.join()


def serve() -> None:
    """Start the process that is forked from, if it does not run, where it finds what this one finds."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), *sys.path]))
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def be_elsewhere() -> None:
    """Be on another machine: `lockf` and `flock` do not see each other on one, as `flock` does not between two."""
    fcntl.flock = fcntl.lockf
    flock.kernel = lambda: "elsewhere"


def become(
    folder: Path,
    files: Sequence[Path],
    arguments: Sequence[str],
    calls: int | None,
    share: float | None,
    lease: float | None,
    elsewhere: bool,
) -> None:
    """Be the command: in its folder, with its output in files, and its arguments where it looks for them."""
    from kdbench.cli.main import entry
    from kdbench.training import checkpoint

    heed_interrupts()
    os.chdir(folder)
    for descriptor, path in enumerate(files, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.argv = ["kdbench", *arguments]
    if share is not None:
        checkpoint.SHARE = share
    if lease is not None:
        takeover.LEASE_SECONDS = lease
    if elsewhere:
        be_elsewhere()
    if calls is not None:
        exit_before(calls)
    raise SystemExit(entry())
