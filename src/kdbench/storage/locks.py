"""One process at a time: locks in files, which the system lets go of when their owner ends, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from kdbench.errors import Busy
from kdbench.storage import durable

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1
QUIET_SECONDS = 1.0


@contextlib.contextmanager
def held(path: Path, what: str, wait: bool = True, quiet: bool = False) -> Iterator[None]:
    """Hold the lock `path`. If another process has it, say that it is at `what` and wait, or raise `Busy`.

    `quiet`: of what should take no time, nothing is said for `QUIET_SECONDS`.
    """
    durable.folder(path.parent)
    # Not of a thread: jobs that train together lock and let go in threads of their own.
    lock = FileLock(path, thread_local=False)
    with durable.writing(path):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not wait:
                raise Busy(f"{what}: another process is at it") from None
            if quiet:
                with contextlib.suppress(Timeout):
                    lock.acquire(timeout=QUIET_SECONDS, poll_interval=POLL_SECONDS)
            if not lock.is_locked:
                log.warning("%s: another process is at it; waiting for it", what)
                lock.acquire(poll_interval=POLL_SECONDS)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # the folder may be gone by now
            lock.release()


def taken(path: Path) -> bool:
    """Whether a living process holds the lock `path`. Changes nothing that lasts."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        # Shared, so that two who ask do not take each other for an owner.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # the latter is what some file systems answer
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(handle)
    return False
