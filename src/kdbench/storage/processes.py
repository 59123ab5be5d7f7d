"""The processors of a machine, and the processes at work on one `outputs`: each holds a lock of its own."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from kdbench.errors import OtherVersion
from kdbench.storage import durable, locks

JUST_MADE_SECONDS = 60.0  # a file that young may be about to be locked


def cores() -> int:
    """Count the processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def at_work(outputs: Path, release: str) -> Iterator[Callable[[], int]]:
    """A context in which this process counts in `outputs`; its value counts those of this machine that do now.

    One that was killed does not count. `release` says what kdbench this is. Raises `OtherVersion` beside a process of
    another, on any machine: each would replace the rows of the other. Raises `CannotWrite`.
    """
    host = re.sub(r"[^\w.]", "_", platform.node())
    folder = outputs / "locks" / "processes"
    durable.folder(folder)
    with durable.writing(folder):
        handle, name = tempfile.mkstemp(prefix=f"{host}-{os.getpid()}-", dir=folder)
        os.write(handle, release.encode())
        os.close(handle)
    own = Path(name)
    try:
        with locks.held(own, "a run", quiet=True):  # others look, for a moment, whether it is held
            require_one_release(folder, own, release)
            yield lambda: max(1, living(folder, host))
    finally:
        own.unlink(missing_ok=True)


def living(folder: Path, host: str) -> int:
    """Count the living processes of `host` in `folder`, and remove the files of dead ones."""
    alive = set()
    for path in files(folder, host):
        if locks.taken(path):
            alive.add(path.name.split("-")[1])  # a command has one for all its runs, and each of them its own
            continue
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > JUST_MADE_SECONDS:
                for file in folder.glob(f"{path.name}*"):
                    file.unlink()
    return len(alive)


def require_one_release(folder: Path, own: Path, release: str) -> None:
    """Raise `OtherVersion` if a living process in `folder`, beside that of the file `own`, has another kdbench."""
    for path in files(folder):
        try:
            other = path.read_text()
        except (OSError, ValueError):  # it has ended meanwhile
            continue
        if path != own and other != release and locks.taken(path):
            host, process, _ = path.name.split("-", 2)
            raise OtherVersion(
                f"kdbench {other or 'of an earlier version'} is at work in {folder.parents[1]} (process {process} "
                f"of {host}), and this is {release}: wait until it has ended, or type another outputs=FOLDER"
            )


def files(folder: Path, host: str = "*") -> list[Path]:
    """Return the files of the processes of `host`, or of all; what lies beside their locks is none."""
    return [path for path in folder.glob(f"{host}-*-*") if ".lease" not in path.name]
