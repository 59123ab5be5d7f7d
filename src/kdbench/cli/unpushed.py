"""What a command could not push to an object store, said at its end."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from tqdm import tqdm

from kdbench.storage import mirror


def report_unpushed(elsewhere: Iterable[str] = ()) -> bool:
    """Try once more, and print a line for each store for which something still waits; whether there is one.

    `elsewhere` is what other machines say of theirs.
    """
    lines = [*mirror.settle(), *sorted(elsewhere)]
    for line in lines:
        tqdm.write(f"!! {line}", file=sys.stderr)
    return bool(lines)
