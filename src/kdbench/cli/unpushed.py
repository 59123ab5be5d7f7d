"""What a command could not push to an object store, said at its end."""

from __future__ import annotations

import sys

from tqdm import tqdm

from kdbench.storage import mirror


def report_unpushed() -> bool:
    """Try once more, and print a line for each store for which something still waits; whether there is one."""
    lines = mirror.settle()
    for line in lines:
        tqdm.write(f"!! {line}", file=sys.stderr)
    return bool(lines)
