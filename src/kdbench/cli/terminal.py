"""What a person at the terminal sees: lines that fit it, and what kdbench logs."""

from __future__ import annotations

import contextlib
import logging
import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import TextIO

from tqdm import tqdm

log = logging.getLogger("kdbench")


def width(stream: TextIO | None = None) -> int | None:
    """Return how many characters a line of a stream, by default stdout, has; None if that is no terminal."""
    return shutil.get_terminal_size().columns if (stream or sys.stdout).isatty() else None


def wrapped(text: str, stream: TextIO | None = None, indent: int = 2) -> str:
    """Return `text` in lines that fit the terminal, all but the first indented; as it is where there is none."""
    room = width(stream)
    whole = {"break_long_words": False, "break_on_hyphens": False}  # paths and names can be copied
    return text if room is None else textwrap.fill(text, room, subsequent_indent=" " * indent, **whole)


class Above(logging.Handler):
    """Messages above and not across the progress bars, each once: the runs of a sweep have much to say in common."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print the message, unless it stands above."""
        text = self.format(record)
        if text not in self.said:
            self.said.add(text)
            tqdm.write(text, file=sys.stderr)


@contextlib.contextmanager
def handled_by(handler: logging.Handler) -> Iterator[None]:
    """A context in which `handler` alone gets what kdbench logs, and not who has set up logging for all."""
    propagate = log.propagate
    log.propagate = False
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = propagate


def warnings_shown() -> contextlib.AbstractContextManager[None]:
    """Return a context in which warnings are printed, and no library that sets up logging prints the rest."""
    return handled_by(Above(logging.WARNING))
