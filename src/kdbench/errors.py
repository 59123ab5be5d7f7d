"""The errors a user can cause, each of which ends as one clear line at the terminal.

Anything else that is raised is a defect of kdbench, and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class KdbenchError(Exception):
    """Base class: the message is one line that says what is wrong and what to do instead."""


class BadSetting(KdbenchError, ValueError):  # noqa: N818 - reads as a sentence where it is raised
    """A setting has a value outside its range, of the wrong type, or a name nobody knows."""


class DataUnavailable(KdbenchError):  # noqa: N818
    """A data set is neither on this machine nor could it be downloaded."""


class DamagedFile(KdbenchError):  # noqa: N818
    """A file is there but truncated, altered or not what its name says; `path` is that file, where it is known."""

    def __init__(self, message: str, path: Path | None = None) -> None:
        super().__init__(message)
        self.path = path


class OutOfMemory(KdbenchError):  # noqa: N818
    """A training does not fit into the memory of its device."""


class CannotWrite(KdbenchError):  # noqa: N818
    """The disk is full, the folder is not writable, or it has been deleted: nothing further can be kept."""


class OtherVersion(CannotWrite):
    """A process with another version of kdbench is at work in the folder of results."""


class CannotReach(CannotWrite):
    """An object store refuses, or does not answer."""


class CannotRead(KdbenchError):  # noqa: N818
    """A file is there, but the system does not let it be read now."""


class Busy(KdbenchError):  # noqa: N818
    """Another process is making the same thing."""


class LockLost(Busy):
    """This process stood still for so long that others counted it as gone, and may be making the same thing."""


class NotFinite(KdbenchError):  # noqa: N818
    """A training diverged, or a measurement is no number: NaN is never a result."""


class Collapsed(KdbenchError):  # noqa: N818
    """A network gives the same class to every image: its accuracy would say nothing."""


class CannotCount(KdbenchError):  # noqa: N818
    """A file holds weights in a form whose zeros and multiply-adds kdbench cannot count."""


def printable(text: str) -> str:
    """Return `text` without what would steer a terminal, or break a line into two."""
    return "".join(character if character.isprintable() else "?" for character in text)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `did you mean 'x'?` for the closest known name, or the list of names if none is close."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"choose from {', '.join(known)}" if known else "there is nothing to choose from"
