"""The processors of a machine, and which processes share them on one `outputs`: each holds a lock of its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from kdbench.storage import durable, locks

JUST_MADE_SECONDS = 60.0  # a file that young may be about to be locked


def cores() -> int:
    """Count the processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def at_work(folder: Path) -> Iterator[Callable[[], int]]:
    """A context in which this process counts in `folder`; its value counts those of this machine that do now.

    One that was killed does not count, since the system has let go of its lock. Raises `CannotWrite`.
    """
    host = re.sub(r"[^\w.]", "_", platform.node())
    durable.folder(folder)
    with durable.writing(folder):
        handle, name = tempfile.mkstemp(prefix=f"{host}-{os.getpid()}-", dir=folder)
    try:
        with contextlib.suppress(OSError):  # a file system without locks, on which nobody is counted
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield lambda: max(1, living(folder, host))
    finally:
        with contextlib.suppress(OSError):
            os.unlink(name)  # noqa: PTH108 - a text
        os.close(handle)


def living(folder: Path, host: str) -> int:
    """Count the living processes of `host` in `folder`, and remove the files of dead ones."""
    count = 0
    for path in folder.glob(f"{host}-*"):
        if locks.taken(path):
            count += 1
            continue
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > JUST_MADE_SECONDS:
                path.unlink()
    return count
