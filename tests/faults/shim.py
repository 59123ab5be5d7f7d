"""Disks that fail and processes that are killed, at a chosen call of `write`, `fsync`, `rename` and the like."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

CALLS = {"write": ("write",), "fsync": ("fsync",), "rename": ("rename", "replace"), "mkdir": ("mkdir",)}
CHANGING = ("write", "fsync", "rename", "replace", "mkdir", "unlink", "rmdir")  # what changes a disk


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


def killed_before(number: int, work: Callable[[], object]) -> bool:
    """Do `work` in a fork that ends as SIGKILL would end it before its call `number` that changes a disk, from 0.

    Returns whether it was killed; False: `work` needs no more calls than that. `work` must use no threads of torch's.
    """
    process = os.fork()
    if process == 0:
        with contextlib.suppress(BaseException):
            exit_before(number)
            work()
            os._exit(0)
        os._exit(2)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert status in (0, KILLED), "the work itself failed"
    return status == KILLED


KILLED = 9


def exit_before(number: int) -> None:
    """End this process before its call `number` that changes a disk, counted from 0."""
    done = 0

    def counted(original: Callable[..., object]) -> Callable[..., object]:
        def call(*given: object, **options: object) -> object:
            nonlocal done
            if done == number:
                os._exit(KILLED)
            done += 1
            return original(*given, **options)

        return call

    for name in CHANGING:
        setattr(os, name, counted(getattr(os, name)))
