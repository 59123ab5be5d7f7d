"""One process at a time: a `flock`, which is let go of when its owner ends, however it ends, and a lease beside it.

The `flock` is exact among those whom it reaches, mostly one machine. The lease keeps the others apart.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

from kdbench.errors import Busy
from kdbench.storage import durable, flock, leases, takeover

log = logging.getLogger(__name__)

POLL_SECONDS = (0.1, 1.0)  # at first, and of who has waited for long
QUIET_SECONDS = 1.0


@contextlib.contextmanager
def held(path: Path, what: str, wait: bool = True, quiet: bool = False) -> Iterator[None]:
    """Hold the lock `path`. If another process has it, say that it is at `what` and wait, or raise `Busy`.

    `quiet`: of what should take no time, nothing is said for `QUIET_SECONDS`. An owner on this machine that is dead
    blocks nobody; one out of reach of `flock` counts as alive until it gave no sign of life for `LEASE_SECONDS`.
    """
    durable.folder(path.parent)
    began, said = time.monotonic(), False
    with durable.writing(path):
        while (lock := _take(path, what)) is None:
            if not wait:
                raise Busy(f"{what}: another process is at it")
            waited = time.monotonic() - began
            if not said and waited >= QUIET_SECONDS * quiet:
                log.warning("%s: another process is at it; waiting for it", what)
                said = True
            first, last = POLL_SECONDS
            time.sleep(min(max(first, waited / 20), last))
    with lock:
        yield


def taken(path: Path) -> bool:
    """Whether a living process holds the lock `path`, as far as one sees at once. Changes nothing that lasts."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        # Shared, so that two who ask do not take each other for an owner.
        free = flock.attempt(handle, fcntl.LOCK_SH)
        place = flock.place_of(handle) if free else None
    except OSError:
        return False
    finally:
        os.close(handle)
    return free is False or takeover.looks_alive(_lease(path), place)


def _take(path: Path, what: str) -> contextlib.ExitStack | None:
    """Take the lock and return what gives it back, or None if another may have it."""
    with contextlib.ExitStack() as stack:
        locked = flock.take(path)
        if locked is None:
            return None
        stack.callback(locked.release)
        lease = leases.take(_lease(path), what, locked.place)
        if lease is None:
            return None
        stack.callback(lease.release)
        return stack.pop_all()


def _lease(path: Path) -> Path:
    return path.with_name(f"{path.name}.lease")
