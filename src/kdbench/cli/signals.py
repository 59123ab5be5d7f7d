"""Ctrl-C, and the SIGTERM of schedulers: a quick end at any moment, since all that is written is written whole."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

GRACE_SECONDS = 1.5  # for native code and clean-up, after which the process ends in any case
SIGNALS = (signal.SIGINT, signal.SIGTERM)
NONE = 0

_received = NONE


class Interrupted(KeyboardInterrupt):
    """The process was asked to end; `status` is what it must exit with."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number


def check() -> None:
    """Raise `Interrupted` again, if some library has swallowed it or made another exception of it."""
    if _received:
        raise Interrupted(_received)


def take_back() -> None:
    """Handle both signals again, after a library that has put handlers of its own below Python's."""
    for number in SIGNALS:
        handler = signal.getsignal(number)
        if callable(handler) and threading.current_thread() is threading.main_thread():
            signal.signal(number, handler)


def status_of(stop: KeyboardInterrupt) -> int:
    """Return what the process must exit with; some libraries make an exception of their own of an `Interrupted`."""
    return stop.status if isinstance(stop, Interrupted) else 128 + (_received or signal.SIGINT)


@contextlib.contextmanager
def handled(message: str) -> Iterator[None]:
    """A context in which both signals raise `Interrupted`, once `message` is printed; it is not to be survived.

    A thread ends the process by force after `GRACE_SECONDS`: Python handles a signal only between two of its own
    instructions, and one of them can be a long native call.
    """
    global _received
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        global _received
        if not _received:
            _received = number
            say(message)
        raise Interrupted(number)

    _received = NONE
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    # Written to by the interpreter's own handler, at once.
    woken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=watch, args=(reader, message), daemon=True).start()
    before = {}
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as of a command behind nohup
            before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            # What comes after the first signal must not disturb the end.
            signal.signal(number, signal.SIG_IGN if _received else handler)
        signal.set_wakeup_fd(woken)
        if not _received:
            os.write(writer, bytes([NONE]))
            os.close(writer)


def say(message: str) -> None:
    """Write a message to stderr. Not print: the signal may have come in the middle of another one."""
    with contextlib.suppress(OSError, ValueError):
        os.write(sys.stderr.fileno(), f"\n{message}\n".encode())


def watch(reader: int, message: str) -> None:
    """Wait for the number of a signal, and end the process a little later, with `message` if nobody has said it."""
    number = NONE
    while number not in SIGNALS:
        received = os.read(reader, 1)
        number = received[0] if received else NONE
        if number == NONE:
            os.close(reader)
            return
    time.sleep(GRACE_SECONDS)
    if not _received:  # Python has not come to its handler, in a native call
        say(message)
    os._exit(128 + number)
