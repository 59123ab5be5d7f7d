"""This process in a Ray cluster: found or started, quiet, and left when the command ends, however it ends."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any, TextIO

from kdbench.cli import signals
from kdbench.cli.messages import one_line
from kdbench.errors import KdbenchError

TELLS_OF_DEATHS = "ray_listen_error_messages"  # the thread in which Ray prints pages about each lost worker


class WithoutRay:
    """A stream without what Ray prints: kdbench has a line for the runs that were cut off."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text, unless it is Ray's."""
        return 0 if threading.current_thread().name == TELLS_OF_DEATHS else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def joined(settings: dict[str, Any]) -> Iterator[None]:
    """A context in which this process is part of a cluster; `settings` are those of `ray.init`.

    Raises `KdbenchError` if there is none to be had.
    """
    import ray

    if ray.is_initialized():  # by the program that calls kdbench
        yield
        return
    try:
        ray.init(**settings)
    except (ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError) as error:
        why = one_line(error)
        raise KdbenchError(f"there is no Ray cluster to be had: {why}: see ray status, and RAY_ADDRESS") from error
    signals.take_back()
    try:
        # It is no TextIO by its type, but hands on whatever it lacks to one.
        with contextlib.redirect_stdout(WithoutRay(sys.stdout)):  # type: ignore[type-var]
            yield
    finally:
        ray.shutdown()
