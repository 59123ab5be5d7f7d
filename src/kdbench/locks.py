"""One process at a time: locks in files, which the system lets go of when their owner ends, however it ends."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from kdbench import durable
from kdbench.errors import Busy

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1


@contextlib.contextmanager
def held(path: Path, what: str, wait: bool = True, quiet: bool = False) -> Iterator[None]:
    """Hold the lock `path`. If another process has it, say that it is at `what` and wait, or raise `Busy`.

    `quiet`: of what takes no time, nothing is said.
    """
    durable.folder(path.parent)
    # Not of a thread: jobs that train together lock and let go in threads of their own.
    lock = FileLock(path, thread_local=False)
    with durable.told(path):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not wait:
                raise Busy(f"{what}: another process is at it") from None
            if not quiet:
                log.warning("%s: another process is at it; waiting for it", what)
            lock.acquire(poll_interval=POLL_SECONDS)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # the folder may be gone by now
            lock.release()


def taken(path: Path) -> bool:
    """Whether a living process holds the lock `path`. Changes nothing that lasts."""
    if not path.exists():
        return False
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:  # a folder that may only be read: nobody here can hold it
        return False
    lock.release()
    return False
