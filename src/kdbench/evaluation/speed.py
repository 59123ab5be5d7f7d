"""How fast a file runs through ONNX Runtime on the CPU, and how much faster than the same network uncompressed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from kdbench.artifact.session import session
from kdbench.evaluation.passes import Pass, Way
from kdbench.storage import machine

log = logging.getLogger(__name__)

Found = TypeVar("Found")

WARM_UP_SECONDS = 0.1  # for each file in each way of running it
SECONDS = 0.5  # of timing, for each of the two figures
PASSES = 9  # by which the files take turns in that time
THROUGHPUT_BATCH = 256
LEAST_SHARE = 0.9  # CPU time over wall time, below which others had the processor too
USUAL = 3  # times the fastest call that the median is at most, where nobody disturbs
TRIES, PAUSE_SECONDS = 3, 1.0


@dataclass(frozen=True)
class Speed:
    """The columns of a row; if the calls were disturbed, however often they were tried, all None but `cpu_share`."""

    latency_ms: float | None  # of one image on one thread, median
    latency_min_ms: float | None
    latency_p90_ms: float | None
    throughput: float | None  # images a second at batch 256, from the median call
    speedup: float | None  # latency of the baseline over that of the file, median over passes
    speedup_low: float | None
    speedup_high: float | None
    throughput_ratio: float | None  # throughput of the file over that of the baseline, likewise
    throughput_ratio_low: float | None
    throughput_ratio_high: float | None
    cpu_share: float


def measure(shipped: bytes, baseline: bytes, images: np.ndarray, threads: int) -> Speed:
    """Time the file and its baseline in turn on real images, float32 (any number, channels, height, width).

    Latency: batch 1, one thread. Throughput: batch 256 on `threads` threads, by the faster of one batch on all of
    them and a batch on each. Nobody else on this machine times anything meanwhile.
    """
    batch = np.resize(images, (THROUGHPUT_BATCH, *images.shape[1:]))  # repeats what is too little
    files = list(dict.fromkeys([shipped, baseline]))
    return undisturbed(lambda: timed(files, batch, threads), lambda found: found.latency_ms is not None)


def undisturbed(timing: Callable[[], Found], is_good: Callable[[Found], bool]) -> Found:
    """Return what `timing` finds while nobody else on this machine times anything; again, where it is not good."""
    for number in range(TRIES):
        if number:
            time.sleep(PAUSE_SECONDS)
        with machine.alone():
            found = timing()
        if is_good(found):
            break
        log.info("timing was disturbed: others had the processor too")
    return found


def timed(files: Sequence[bytes], batch: np.ndarray, threads: int) -> Speed:
    """Time the first of `files`, in turn with the second if there is one."""
    alone = [session(content, 1) for content in files]
    singles = [Way(run, batch[:1]) for run in alone]
    for way in singles:
        way.run(WARM_UP_SECONDS, calls=2)
    latency = in_turn(singles)
    share = share_of(latency)
    if share < LEAST_SHARE:
        return untimed(share)
    ways = [
        fastest([Way(one, batch, workers=threads), Way(session(content, threads), batch, threads=threads)])
        for content, one in zip(files, alone, strict=True)
    ]
    throughput = in_turn(ways)
    share = min(share, share_of(throughput))
    if share < LEAST_SHARE:
        return untimed(share)
    calls = np.concatenate([turn[0].calls for turn in latency])
    if np.median(calls) > USUAL * calls.min():  # they waited for threads of this process, which no clock shows
        return untimed(share)
    batches = np.concatenate([turn[0].calls for turn in throughput])
    return Speed(
        float(np.median(calls) * 1e3),
        float(calls.min() * 1e3),
        float(np.quantile(calls, 0.9) * 1e3),
        float(ways[0].workers * len(batch) / np.median(batches)),
        *ratios(latency),
        *ratios(throughput),
        share,
    )


def untimed(share: float) -> Speed:
    """Return the columns of what could not be timed."""
    return Speed(*[None] * 10, share)


def fastest(ways: Sequence[Way]) -> Way:
    """Return the way that runs most images a second, after a call of each that is not counted."""
    if ways[0].workers == 1:
        return ways[0]
    return max(ways, key=lambda way: way.run(WARM_UP_SECONDS, calls=2).rate)


def in_turn(ways: Sequence[Way], seconds: float | None = None) -> list[list[Pass]]:
    """Return passes A B A B ..., one list a turn: what slows down the machine, or a processor, slows down all.

    All together take so many `seconds`; None: `SECONDS`.
    """
    seconds = SECONDS if seconds is None else seconds
    turns = []
    for _ in range(PASSES):
        turn: list[Pass] = []
        for way in ways:
            turn.append(way.run(seconds / PASSES / len(ways), places=turn[0].places if turn else ()))
        turns.append(turn)
    return turns


def ratios(turns: Sequence[Sequence[Pass]]) -> tuple[float, float, float]:
    """Return how many times faster the first is than the last: median, least and most over turns; of itself 1.

    By the fastest call of each pass, which others disturb least (beside two busy processes on two cores it moved by
    1% where the mean moved by 30%).
    """
    found = [turn[0].rate / turn[-1].rate for turn in turns]
    return float(np.median(found)), min(found), max(found)


def share_of(turns: Sequence[Sequence[Pass]]) -> float:
    """Return CPU time over the time that a CPU was wanted for, the smallest of the ways."""
    shares = [sum(one.ran for one in own) / sum(one.wanted for one in own) for own in zip(*turns, strict=True)]
    return min([*shares, 1.0])
