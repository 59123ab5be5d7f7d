"""A disk that fails: `write`, `fsync`, `rename` and `mkdir` raise from a chosen call on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

CALLS = {"write": ("write",), "fsync": ("fsync",), "rename": ("rename", "replace"), "mkdir": ("mkdir",)}


def place(target: object) -> str:
    """Return the path of what a call works on."""
    return str(Path(f"/proc/self/fd/{target}").readlink()) if isinstance(target, int) else str(target)


@contextlib.contextmanager
def failing(call: str, number: int, under: Path, after: int) -> Iterator[list[str]]:
    """Let `call` raise the error `number` under a folder, after so many that succeed; yields what failed."""
    failed: list[str] = []
    seen = 0
    originals = {name: getattr(os, name) for name in CALLS[call]}

    def broken(name: str) -> object:
        def attempt(*given: object, **options: object) -> object:
            nonlocal seen
            target = place(given[-1] if call == "rename" else given[0])
            if Path(target).is_relative_to(under):
                seen += 1
                if seen > after:
                    failed.append(target)
                    raise OSError(number, os.strerror(number), target)
            return originals[name](*given, **options)

        return attempt

    try:
        for name in originals:
            setattr(os, name, broken(name))
        yield failed
    finally:
        for name, original in originals.items():
            setattr(os, name, original)
