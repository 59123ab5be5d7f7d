"""What kdbench logs, as a person at the terminal sees it."""

from __future__ import annotations

import contextlib
import logging
import shutil
import sys
from collections.abc import Iterator

from tqdm import tqdm

log = logging.getLogger("kdbench")


def width() -> int | None:
    """Return how many characters a line of stdout has, or None if that is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


class Above(logging.Handler):
    """Messages above and not across the progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the message."""
        tqdm.write(self.format(record), file=sys.stderr)


@contextlib.contextmanager
def warnings_shown() -> Iterator[None]:
    """A context in which warnings are printed, and no library that sets up logging for itself prints the rest."""
    handler = Above(logging.WARNING)
    log.propagate = False
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = True
