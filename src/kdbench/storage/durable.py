"""Files that are there whole or not at all, and what becomes of damaged ones. Imports no torch."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from kdbench.errors import CannotRead, CannotWrite, DamagedFile
from kdbench.storage import leases

log = logging.getLogger(__name__)

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # what a disk answers, and no network
DRAFT = ".draft-"  # what the names of unfinished files and folders begin with
ABANDONED_SECONDS = 3600  # from which age on a draft is that of a killed process, where no lock shows it


def write(path: Path, content: bytes) -> None:
    """Write a file by a draft of its own in the same folder, flushed to the disk, then renamed.

    After a kill at any moment `path` holds the old content or the new. Raises `CannotWrite` and `LockLost`.
    """
    with drafted({path: content}) as place:
        place()


@contextlib.contextmanager
def drafted(files: Mapping[Path, bytes]) -> Iterator[Callable[[], None]]:
    """A context in which all of `files` are drafts on the disk, until its value is called to put them in place.

    A disk that is full says so before any place is touched, and so does a process that has lost a lock: the place
    may be another's by now. Raises `CannotWrite` and `LockLost`.
    """
    drafts: dict[Path, Path] = {}

    def put() -> None:
        for path, draft in drafts.items():
            with writing(path):
                if path.is_dir():
                    set_aside(path, "it is a folder")
                os.replace(draft, path)  # noqa: PTH105 - Path.replace has no different meaning here

    try:
        for path, content in files.items():
            with writing(path):
                handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{DRAFT}{path.name}-")
                drafts[path] = Path(name)
                try:
                    rest = memoryview(content)
                    while rest:
                        rest = rest[os.write(handle, rest) :]
                    os.fsync(handle)
                finally:
                    os.close(handle)
                drafts[path].chmod(0o644)  # mkstemp's own mode would shut out everyone else
        leases.require_held()
        yield put
    finally:
        for draft in drafts.values():
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)


def read(path: Path) -> bytes:
    """Return the content of a file.

    Raises `DamagedFile` if it is missing where it must be, and `CannotRead` for what may pass: a file that somebody
    else may read, a share that does not answer.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise DamagedFile(f"{path.name} is not a file")
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DamagedFile(f"{path.name} is missing") from error
    except OSError as error:
        raise CannotRead(f"{path} cannot be read ({error.strerror or error}); nothing was changed") from error


def folder(path: Path) -> Path:
    """Make the folder and its parents, and return it. Raises `CannotWrite`."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def sweep(place: Path, name: str, older_than: float = 0.0) -> None:
    """Remove drafts of `name` in the folder `place`, left by killed processes.

    Only for who has the lock on `name`, or for those of an age, in seconds, at which nobody still writes them.
    """
    for draft in place.glob(f"{DRAFT}{name}-*"):
        with contextlib.suppress(OSError):
            if time.time() - draft.stat().st_mtime >= older_than:
                shutil.rmtree(draft) if draft.is_dir() else draft.unlink()


def set_aside(path: Path, why: object) -> Path:
    """Rename something damaged to a name that says so, report it, and return that name. Raises `CannotWrite`."""
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.damaged-{number}")):
        number += 1
    with writing(path):
        try:
            path.rename(aside)
        except FileNotFoundError:
            if path.parent.exists():  # another process was faster
                return aside
            raise
    log.warning("%s is damaged (%s): set aside as %s, and made again", path, why, aside.name)
    return aside


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system raises while `path` is written into a `CannotWrite` that says what to do."""
    try:
        yield
    except OSError as error:
        kept = "" if error.errno == errno.ENOENT else "; what was done before is kept"
        raise CannotWrite(reason(path, error) + kept) from error


def reason(path: Path, error: OSError) -> str:
    """Return in words why `path` could not be written, and what to do."""
    elsewhere = "or write elsewhere (outputs=FOLDER)"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        home = next(folder for folder in path.parents if not folder.name.startswith(DRAFT))
        return f"the disk of {home} is full: free some space, {elsewhere}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{path} may not be written: change its permissions, {elsewhere}"
    if error.errno == errno.EROFS:
        return f"{path} lies on a read-only file system: write elsewhere (outputs=FOLDER)"
    if error.errno == errno.ENOENT and not path.parent.exists():
        return f"{path.parent} is gone: it was deleted or moved while kdbench was writing to it"
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return f"{path} cannot be a folder, since a file has that name: write elsewhere (outputs=FOLDER)"
    return f"{path} could not be written ({error.strerror or error})"
