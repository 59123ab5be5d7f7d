"""In which order the runs of a sweep are handed out to workers that share a store. Imports no torch."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Protocol


class Needed(Protocol):
    """One training: equal keys are one and the same, which is done once; about how many seconds it takes."""

    @property
    def key(self) -> str:
        """What it is known by."""
        ...

    @property
    def seconds(self) -> float:
        """About what it takes."""
        ...


def in_order(needs: Sequence[Sequence[Needed]], workers: int) -> list[int]:
    """Return the numbers of the runs in the order in which `workers` are to begin them; `needs` is what each trains.

    List scheduling by the critical path (Graham 1969; Hu 1961), with the durations that are expected: of the runs
    that would wait for no training of another, the one with the most behind it is begun first, be that its own work
    or what others do once they have its networks.
    """
    behind = _behind(needs)
    ready = [(-behind[run], run) for run in range(len(needs))]
    heapq.heapify(ready)
    later: list[tuple[float, float, int]] = []  # when what it waits for is done, and as above
    free = [0.0] * min(workers, max(1, len(needs)))
    ends: dict[str, float] = {}
    order: list[int] = []
    while ready or later:
        now = heapq.heappop(free)
        while later and later[0][0] <= now:
            heapq.heappush(ready, later[0][1:])
            heapq.heappop(later)
        run = None
        while ready and run is None:
            urgency, candidate = heapq.heappop(ready)
            at = max((ends.get(one.key, now) for one in needs[candidate]), default=now)
            if at > now:
                heapq.heappush(later, (at, urgency, candidate))
            else:
                run = candidate
        if run is None:  # all wait: begin with the one that waits least
            run = heapq.heappop(later)[2]
        order.append(run)
        heapq.heappush(free, finish(needs[run], now, ends))
    return order


def finish(trainings: Sequence[Needed], now: float, ends: dict[str, float]) -> float:
    """Return when a worker has done a run that it begins `now`, where it waits for what another is at.

    `ends`, when each training ends, is brought up to date.
    """
    for one in trainings:
        if one.key not in ends:
            ends[one.key] = now + one.seconds
        now = max(now, ends[one.key])
    return now


def _behind(needs: Sequence[Sequence[Needed]]) -> list[float]:
    """Return for each run the longest work that can only be done one after the other, from its beginning on."""
    after: dict[str, float] = {}  # what comes in any run after a training
    for trainings in needs:
        seconds = 0.0
        for one in reversed(trainings):
            after[one.key] = max(after.get(one.key, 0.0), seconds)
            seconds += one.seconds
    found = []
    for trainings in needs:
        before, most = 0.0, 0.0
        for one in trainings:
            before += one.seconds
            most = max(most, before + after[one.key])
        found.append(most)
    return found
