"""A file run again and again for a moment, and what each call took."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdbench.artifact.session import Session

SCHEDSTAT = Path("/proc/thread-self/schedstat")
STAT = Path("/proc/thread-self/stat")
SETTLING = 32  # images of a call that is not counted


@dataclass(frozen=True)
class Pass:
    """`calls`: the seconds of each, of all threads. `rate`: images a second by each thread's fastest call.

    `ran` are the seconds that the threads had a processor, `wanted` those that they wanted one. `places` are the
    processors that each ran on, where that is known.
    """

    calls: np.ndarray
    rate: float
    ran: float
    wanted: float
    places: tuple[int | None, ...] = ()


@dataclass(frozen=True)
class Way:
    """A file and how it is run: by `workers` threads, each on the whole batch `images` again and again.

    `threads` are those of the session, within a batch.
    """

    session: Session
    images: np.ndarray
    workers: int = 1
    threads: int = 1

    def run(self, seconds: float, calls: int = 1, places: Sequence[int | None] = ()) -> Pass:
        """Run it for about so long, and in each thread at least so many times.

        Each thread stays on one processor: that of `places`, or the one that the system chose for it.
        """
        together = threading.Barrier(self.workers)
        free, turn = processors(), threading.Lock()

        def work(number: int) -> tuple[np.ndarray, float, float, int | None]:
            place = None
            if self.threads == 1:
                if number < len(places):
                    place = places[number]
                else:
                    self.session(self.images[:SETTLING])  # time for the system to find a processor where nobody runs
                    place = here()
                with turn:  # two threads may have begun on one
                    place = place if place in free else min(free, default=None)
                    free.discard(place)
                stay_on(place)
            together.wait()  # no call is to be faster because the others have not begun
            return *self.repeated(seconds, calls), place

        with ThreadPoolExecutor(self.workers) as pool:
            took, ran, wanted, found = zip(*pool.map(work, range(self.workers)), strict=True)
        rate = len(self.images) * sum(1 / float(one.min()) for one in took)
        return Pass(np.concatenate(took), rate, sum(ran), sum(wanted), found)

    def repeated(self, seconds: float, calls: int) -> tuple[np.ndarray, float, float]:
        """Call it in this thread; return the seconds of each call, and how long it ran and wanted to run."""
        took: list[float] = []
        clock = processor_time if self.threads == 1 else processors_time
        ran, wanted = clock()
        until = time.perf_counter() + seconds
        while len(took) < calls or time.perf_counter() < until:
            start = time.perf_counter()
            self.session(self.images)
            took.append(time.perf_counter() - start)
        ran_then, wanted_then = clock()
        return np.array(took), ran_then - ran, wanted_then - wanted


def processors() -> set[int | None]:
    """Return the numbers of the processors that this process may use; none where the system does not say."""
    return set(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else set()


def here() -> int | None:
    """Return the number of the processor that this thread runs on; None where the system does not say (not Linux)."""
    try:
        # After the name, which may hold anything, in brackets; field 39 of proc(5).
        return int(STAT.read_text().rpartition(")")[2].split()[36])
    except (OSError, ValueError, IndexError):
        return None


def stay_on(place: int | None) -> None:
    """Keep this thread on a processor, as far as the system lets it.

    Left to itself, each thread that begins goes where nobody runs, so that of two files in turn each has a processor
    of its own: where one of these shares its core with somebody else's machine, one file is slower by a third in all
    passes.
    """
    if place is not None and hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, {place})


def processor_time() -> tuple[float, float]:
    """Return how many seconds this thread had a processor, and how many it had or wanted one.

    Linux counts how long a thread waits for a processor; what it waits for other threads of its own process is not
    among that. Elsewhere it is taken to want one all the time.
    """
    ran = time.thread_time()
    try:
        _, waited, turns = map(int, SCHEDSTAT.read_text().split())
    except (OSError, ValueError):
        turns = waited = 0
    return ran, ran + waited / 1e9 if turns else time.perf_counter()


def processors_time() -> tuple[float, float]:
    """Return the same of all threads of this process together, for calls that are shared out among several.

    Threads that wait for each other want no processor. Elsewhere than on Linux nothing is known of waiting, and none
    counts.
    """
    ran, waited = time.process_time(), 0
    for path in Path("/proc/self/task").glob("*/schedstat"):
        with contextlib.suppress(OSError, ValueError):  # of a thread that has just ended
            waited += int(path.read_text().split()[1])
    return ran, ran + waited / 1e9
