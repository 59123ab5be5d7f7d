"""Locks of the kernel: exact, and let go of as soon as their owner ends, within one kernel and one mount."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import platform
from dataclasses import dataclass
from pathlib import Path

MISSING = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK)  # what file systems without it answer

_taken: set[Flock] = set()  # by this process


@dataclass(eq=False)
class Flock:
    """A lock file, locked. `place` names those whom that excludes: None where the file system locks nothing."""

    handle: int
    place: str | None

    def release(self) -> None:
        """Let go of it, unless this process is a fork of its owner."""
        if self in _taken:
            _taken.discard(self)
            with contextlib.suppress(OSError):
                fcntl.flock(self.handle, fcntl.LOCK_UN)  # which copies of the handle in a child would put off
            with contextlib.suppress(OSError):
                os.close(self.handle)


def take(path: Path) -> Flock | None:
    """Lock the file `path`, made if it is not there, or return None if another has it. Raises `OSError`."""
    # For writing, which NFS asks of who wants to lock alone. No link, and no pipe to wait for.
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    try:
        locked = attempt(handle, fcntl.LOCK_EX)
        if locked is False or os.fstat(handle).st_nlink == 0:  # somebody has deleted it meanwhile
            os.close(handle)
            return None
        flock = Flock(handle, place_of(handle) if locked else None)
    except BaseException:
        os.close(handle)
        raise
    _taken.add(flock)
    return flock


def attempt(handle: int, kind: int) -> bool | None:
    """Return whether the lock was to be had, or None if the file system has no locks. Raises `OSError`."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # the latter is what some file systems answer
        return False
    except OSError as error:
        if error.errno not in MISSING:
            raise
        return None
    return True


def place_of(handle: int) -> str:
    """Return the kernel and the mount of a file: whoever finds the same here and there is excluded by its `flock`."""
    return f"{kernel()}:{os.fstat(handle).st_dev:x}"


@functools.cache
def kernel() -> str:
    """Return what names the running kernel, of all that there are."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # no Linux
        return platform.node().replace(" ", "_")


def _forget() -> None:
    """In a fork: what the parent holds is not this process's to release, and must not outlive the parent in it."""
    for flock in _taken:
        os.close(flock.handle)
    _taken.clear()


os.register_at_fork(after_in_child=_forget)
