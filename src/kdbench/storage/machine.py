"""What processes on one machine must not do at once: one measures times, and the others' trainings stand still.

The lock lies outside `outputs`, which several machines may share, in the temporary folder of the system: that of
TMPDIR may be another for each user. Who cannot have it goes on without, since the times themselves tell whether
anybody disturbed them (`cpu_share`).
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

from kdbench.storage import leases

log = logging.getLogger(__name__)

LOCK = Path("/tmp/kdbench-timing.lock")
POLL_SECONDS = 0.02
LOOK_SECONDS = 0.05  # between two looks of a training
PATIENCE_SECONDS = 60.0  # who holds the lock for longer is not timing, but stopped

_look_at = 0.0  # when a training of this process looks again
_still_seconds = 0.0  # that trainings of this process have stood still


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """A context in which no other process measures times, and trainings that see it stand still."""
    handle = _opened()
    if handle is None:
        yield
        return
    try:
        if not _had(handle, fcntl.LOCK_EX):
            log.info("%s is held for over %.0f s: times are measured without it", LOCK, PATIENCE_SECONDS)
        yield
    finally:
        os.close(handle)


def stand_still() -> None:
    """Wait while somebody measures times. To be called before each piece of work of some milliseconds.

    Raises `LockLost` if another process may have gone on with the work instead.
    """
    global _look_at, _still_seconds
    leases.require_held()
    if time.monotonic() < _look_at:
        return
    began = time.monotonic()
    handle = _opened()
    free = True
    if handle is not None:
        free = _had(handle, fcntl.LOCK_SH)
        os.close(handle)
    _still_seconds += time.monotonic() - began
    _look_at = time.monotonic() + (LOOK_SECONDS if free else 10 * PATIENCE_SECONDS)


def still_seconds() -> float:
    """Return how long this process has stood still in all: no training is to count it."""
    return _still_seconds


def _opened() -> int | None:
    """Return a handle of the file that every user of this machine may lock, or None if there can be none.

    It is made only if it is not there: in a folder that all may write to, Linux refuses to open the file of somebody
    else if it might be made (fs.protected_regular). Reading is enough for a lock.
    """
    careful = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # no links, and no pipe to wait for
    try:
        with contextlib.suppress(FileNotFoundError):
            return os.open(LOCK, careful)
        handle = os.open(LOCK, careful | os.O_CREAT, 0o644)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        os.fchmod(handle, 0o644)  # whatever the umask
    return handle


def _had(handle: int, kind: int) -> bool:
    """Wait for a lock of this kind, with patience; whether it was to be had."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            if time.monotonic() > until:
                return False
            time.sleep(POLL_SECONDS)
        except OSError:  # a file system without locks
            return False
        else:
            return True
