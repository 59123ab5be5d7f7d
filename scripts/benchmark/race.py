"""Two ways of doing the same work, timed in turn, so that what else the machine does meets both alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Race:
    """Seconds of each round; `ratio` is how many times faster ours is, by the medians."""

    name: str
    ours: list[float]
    theirs: list[float]
    note: str = ""

    @property
    def ratio(self) -> float:
        """Median of theirs over median of ours."""
        return median(self.theirs) / median(self.ours)

    def line(self) -> str:
        """Return `name  ours  theirs  ratio  note`, times as median and range."""
        return f"{self.name:<28}{spread(self.ours):>24}{spread(self.theirs):>24}{self.ratio:>9.2f}x  {self.note}"


def race(name: str, ours: Callable[[], float], theirs: Callable[[], float], rounds: int, note: str = "") -> Race:
    """Run A B A B ...; both return the seconds that count."""
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    return Race(name, [first for first, _ in pairs], [second for _, second in pairs], note)


def spread(times: list[float]) -> str:
    """Return the median of `times` and their range, in seconds."""
    if len(times) == 1:
        return f"{times[0]:.2f} s"
    return f"{median(times):.2f} s ({min(times):.2f}-{max(times):.2f})"
