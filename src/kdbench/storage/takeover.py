"""Who gets a lease: whoever makes its file first, or the one who follows an owner that is gone.

A lease is a file that can be made only once. It begins with a token of its owner's, a counter that the owner raises
several times in `LEASE_SECONDS`, and the owner's place. Who has seen the same content for that long, by its own
clock, may follow. Neither clocks of others nor times of files decide that: they may be wrong by hours.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import tempfile
import time
from pathlib import Path

LEASE_SECONDS = 60.0  # without a sign of life, after which an owner counts as gone
NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)  # what file systems without them answer

_watched: dict[Path, tuple[str, float]] = {}  # leases of others: the content, and since when it is that


def put(path: Path, content: str, place: str | None) -> bool:
    """Put `content` under the name `path`; return whether it is there: not if an owner may be alive.

    `place` is that of the `flock` that the caller holds: an owner of the same place, who held it too, is dead.
    Raises `OSError`.
    """
    seen = read(path)
    if seen is not None and not gone(path, seen, place):
        return False
    # One name for all of a place, who hold its lock in turn: so what a killed one left is found by the next.
    draft = path.with_name(f"{path.name}.{hashlib.sha256((place or content).encode()).hexdigest()[:16]}")
    try:
        create(draft, content)
    except FileExistsError:
        draft.unlink(missing_ok=True)
        create(draft, content)
    try:
        return placed(draft, path, content, place)
    finally:
        draft.unlink(missing_ok=True)


def placed(draft: Path, path: Path, content: str, place: str | None) -> bool:
    """Return whether `draft`, which holds `content`, now has the name `path` too."""
    with contextlib.suppress(FileExistsError):
        link(draft, path, content)
        return True
    seen = read(path)
    if seen is None or not gone(path, seen, place):
        return False
    # The right to follow this owner is a file of the same kind, so that one alone has it, and who dies with it is
    # followed too. Who comes late to such a right finds that the owner is another by now.
    right = path.with_name(f"{path.name}-{token(seen)}")
    if not placed(draft, right, content, place):
        return False
    if read(path) == seen:
        with contextlib.suppress(FileNotFoundError):
            os.replace(right, path)  # noqa: PTH105 - Path.replace has no different meaning here
        _watched.pop(path, None)
        return read(path) == content
    right.unlink(missing_ok=True)
    return False


def link(draft: Path, path: Path, content: str) -> None:
    """Give `draft` another name, so that `path` is whole from the first. Raises `FileExistsError` if there is one."""
    try:
        os.link(draft, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        create(path, content)


def create(path: Path, content: str) -> None:
    """Make a file. Raises `FileExistsError` if there is one, and `OSError`."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        os.write(handle, content.encode())
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)


def read(path: Path) -> str | None:
    """Return the content of a lease, or None if there is none. Raises `OSError`."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            return os.read(handle, 512).decode(errors="replace")
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):
            return None
        raise


def token(content: str) -> str:
    """Return the token of an owner; of one that died before it had written its own, that of nobody."""
    found = re.match("[0-9a-f]{16} ", content)
    return found[0].strip() if found else "0" * 16


def is_of(content: str, place: str | None) -> bool:
    """Whether an owner is of this place."""
    return place is not None and content.split(" ")[2:3] == [place]


def gone(path: Path, content: str, place: str | None) -> bool:
    """Whether the owner of a lease may be followed, as far as is known at `place`."""
    return is_of(content, place) or expired(path, content)


def expired(path: Path, content: str) -> bool:
    """Whether a lease has had this content for `LEASE_SECONDS`, as far as this process has seen."""
    now = time.monotonic()
    seen, since = _watched.get(path, (None, now))
    if seen != content:
        _watched[path] = (content, now)
        return False
    return now - since >= LEASE_SECONDS


def looks_alive(path: Path, place: str | None) -> bool:
    """Whether the lease `path` seems to have an owner beyond `place`. Only to be shown.

    By the time of its last renewal and the clock that this time is of: as far as one may write there.
    """
    try:
        content = read(path)
        if content is None or is_of(content, place):
            return False
        renewed = path.stat().st_mtime
    except OSError:
        return False
    try:
        with tempfile.TemporaryFile(dir=path.parent) as file:
            now = os.fstat(file.fileno()).st_mtime
    except OSError:
        now = time.time()
    return now - renewed < LEASE_SECONDS
