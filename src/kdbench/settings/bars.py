"""Whether progress bars are drawn: at a terminal, unless the program that calls kdbench says otherwise."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from contextvars import ContextVar

_wanted: ContextVar[bool | None] = ContextVar("wanted", default=None)


@contextlib.contextmanager
def drawn(wanted: bool) -> Iterator[None]:
    """A context, of this thread, in which bars are drawn or not, whatever stderr is."""
    before = _wanted.set(wanted)
    try:
        yield
    finally:
        _wanted.reset(before)


def hidden() -> bool:
    """Whether a bar is not to be drawn: what tqdm calls `disable`."""
    wanted = _wanted.get()
    return not sys.stderr.isatty() if wanted is None else not wanted
