"""Leases: what keeps processes apart where no `flock` reaches from one to the other.

Many file systems that machines share keep `flock` to each machine. An owner of a lease renews it while it lives; one
that did not for long, because it stood still or could not reach the file, finds out whether it still has it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import secrets
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from kdbench.errors import LockLost
from kdbench.storage import takeover

BEATS = 6  # signs of life in `LEASE_SECONDS`

_held: set[Lease] = set()  # by this process
_renewing: threading.Thread | None = None
_mutex = threading.Lock()  # of _renewing, and of what is added to _held


@dataclass(eq=False)
class Lease:
    """The lease `path` on `what`. `place`: where a `flock` excludes others beside it, None if it does nowhere."""

    path: Path
    what: str
    place: str | None
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    beats: int = 0
    lost: bool = False

    def __post_init__(self) -> None:
        self.renewed_at = _clock()

    @property
    def content(self) -> str:
        """What the file holds, always of one length; host and process are for people who look into it."""
        return f"{self.token} {self.beats:010d} {self.place or '-'} {platform.node()} {os.getpid()}\n"

    @property
    def stale(self) -> bool:
        """Whether others may soon count this process as gone."""
        return _clock() - self.renewed_at > takeover.LEASE_SECONDS / 2

    def renew(self) -> None:
        """Give a sign of life, or notice that the lease is lost. What cannot be known now is tried again later."""
        now = _clock()
        try:
            handle = os.open(self.path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if not os.read(handle, 64).startswith(self.token.encode()):
                    self.lost = True
                    return
                # Into the file that was read: one that has taken its place since stays as it is.
                self.beats += 1
                os.pwrite(handle, self.content.encode(), 0)
            finally:
                os.close(handle)
        except OSError as error:
            self.lost |= error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)
        else:
            self.renewed_at = now

    def release(self) -> None:
        """Give the lease back, unless it is lost or this process is a fork of its owner."""
        if self not in _held:
            return
        _held.discard(self)
        self.renew()  # so that nobody who has watched it for long takes it over just now
        if not self.lost:
            with contextlib.suppress(OSError):
                self.path.unlink()


def take(path: Path, what: str, place: str | None) -> Lease | None:
    """Take the lease `path`, or return None if its owner may be alive. Raises `OSError`.

    `place` is that of the `flock` that the caller holds, or None.
    """
    global _renewing
    lease = Lease(path, what, place)
    if not takeover.put(path, lease.content, place):
        return None
    with _mutex:
        _held.add(lease)
        if _renewing is None:
            _renewing = threading.Thread(target=_renew, daemon=True)
            _renewing.start()
    return lease


def require_held() -> None:
    """Raise `LockLost` if any lease of this process is no longer its own.

    To be called before each piece of work and each writing: a process that stood still, and with it the thread that
    renews, looks before it goes on.
    """
    for lease in list(_held):
        if lease.stale:
            lease.renew()
        if lease.lost:
            raise LockLost(
                f"{lease.what}: this process stood still for over {takeover.LEASE_SECONDS:.0f} s, or its lock was "
                "deleted, and another may have gone on instead: type the same command again"
            )


def _clock() -> float:
    """Return seconds, among them those in which the machine slept: for others they went by."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _renew() -> None:
    """Renew the leases of this process, until it has none."""
    global _renewing
    while _renewing is threading.current_thread():
        time.sleep(takeover.LEASE_SECONDS / BEATS)
        for lease in list(_held):
            lease.renew()
        with _mutex:
            if not _held and _renewing is threading.current_thread():
                _renewing = None


def _forget() -> None:
    """In a fork: what the parent holds is the parent's to renew and to release."""
    global _renewing, _mutex
    _held.clear()
    _renewing, _mutex = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)
