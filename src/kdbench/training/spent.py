"""What a training takes: time on the wall, and time of processors."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Self

from kdbench.storage import machine


@dataclass(frozen=True)
class Spent:
    """`seconds` by the clock on the wall, and `cpu_seconds` of all threads of this process.

    What a training stood still while another process measured times is not among them.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0

    @classmethod
    def now(cls) -> Self:
        """Return where both clocks stand; only differences mean something."""
        return cls(time.perf_counter() - machine.still_seconds(), time.process_time())

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.seconds + other.seconds, self.cpu_seconds + other.cpu_seconds)

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.seconds - other.seconds, self.cpu_seconds - other.cpu_seconds)

    def __truediv__(self, parts: int) -> Spent:
        return Spent(self.seconds / parts, self.cpu_seconds / parts)
