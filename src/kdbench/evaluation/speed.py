"""How fast a file runs through ONNX Runtime on the CPU."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from kdbench.artifact.session import session

WARM_UP_SECONDS = 0.1
SECONDS = 0.5  # of timing, for each of the two figures
CALLS = 5  # at least, however long one takes
THROUGHPUT_BATCH = 256


@dataclass(frozen=True)
class Speed:
    """Median and 90th percentile of one image on one thread in ms; images a second at batch 256."""

    latency_ms: float
    latency_p90_ms: float
    throughput: float


def measure(content: bytes, images: np.ndarray, threads: int) -> Speed:
    """Time the file on real images, float32 (at least 256, channels, height, width): content changes what int8 costs.

    Latency: batch 1, one thread. Throughput: the median batch of 256 on `threads` threads. Both after warm-up.
    """
    single = timings(session(content, 1), images[:1])
    batch = timings(session(content, threads), images[:THROUGHPUT_BATCH])
    return Speed(
        latency_ms=float(np.median(single) * 1e3),
        latency_p90_ms=float(np.quantile(single, 0.9) * 1e3),
        throughput=float(len(images[:THROUGHPUT_BATCH]) / np.median(batch)),
    )


def timings(run: object, images: np.ndarray) -> list[float]:
    """Return the seconds of each call, for about `SECONDS` and at least `CALLS`, after a warm-up of at least one."""
    assert callable(run)
    for calls, wanted in ((1, WARM_UP_SECONDS), (CALLS, SECONDS)):
        seconds: list[float] = []
        total = 0.0
        while len(seconds) < calls or total < wanted:
            start = time.perf_counter()
            run(images)
            seconds.append(time.perf_counter() - start)
            total += seconds[-1]
    return seconds
