"""What can be said of a difference that was found under several seeds: one place for every verdict. No torch."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
POWER = 0.8
ROUNDING = 1e-9  # times the values: differences that vary by less are the same


@dataclass(frozen=True)
class Figure:
    """The mean of `count` values; `low`, `high`: its 95% interval by Student's t, the mean itself of one value."""

    mean: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        mean, low, high = (digits(value, 4) for value in (self.mean, self.low, self.high))
        return mean if self.count < 2 else f"{mean} ({low} to {high})"


@dataclass(frozen=True)
class Difference(Figure):
    """A paired difference; `p` by the two-sided paired t-test.

    `seen` is the smallest difference that would have been found with a probability of 80%: of what is smaller,
    nothing can be said. Both are None of less than two pairs, and where all differ alike, which cannot be tested.
    """

    p: float | None
    seen: float | None

    @property
    def shown(self) -> bool:
        """Whether there is one, at 5%."""
        return self.p is not None and self.p < 1 - CONFIDENCE

    @property
    def direction(self) -> str:
        """Return `lower` or `higher`."""
        return "lower" if self.mean < 0 else "higher"

    @property
    def verdict(self) -> str:
        """Return in words whether there is a difference, and what that is worth."""
        if self.p is None:
            alike = f"the same difference in all {self.count} seeds, which cannot be tested"
            return "one seed: nothing can be said" if self.count == 1 else alike
        if self.shown:
            return f"{self.direction} (p = {self.p:.2g})"
        return f"no difference shown (p = {self.p:.2g}; {self.seen:.2g} would have been seen)"

    def __str__(self) -> str:
        mean, low, high = (digits(value, 3, "+") for value in (self.mean, self.low, self.high))
        return mean if self.p is None else f"{mean} ({low} to {high})"


def digits(value: float, count: int, sign: str = "-") -> str:
    """Return so many digits of a number, or all before its point, where there are more; never an exponent."""
    if abs(value) >= 10**count - 0.5:
        return f"{value:{sign},.0f}"
    return f"{value:{sign}.{count}g}" if abs(value) >= 1e-4 or not value else f"{value:{sign}.{count + 4}f}"


def figure(values: Sequence[float]) -> Figure:
    """Return the mean and its interval."""
    from scipy import stats

    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return Figure(mean, mean, mean, count)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * np.std(values, ddof=1) / math.sqrt(count))
    return Figure(mean, mean - half, mean + half, count)


def difference(one: Sequence[float], other: Sequence[float]) -> Difference:
    """Return that of `one` less `other`, value by value.

    Paired t-test (Student 1908), `scipy.stats.ttest_rel`, two-sided.
    """
    from scipy import stats

    apart = np.subtract(one, other, dtype=np.float64)
    found = figure([*apart])
    if found.count < 2:
        return Difference(found.mean, found.low, found.high, found.count, None, None)
    spread = float(np.std(apart, ddof=1))
    if spread <= ROUNDING * float(np.abs([one, other]).max()):  # the test divides by it
        return Difference(found.mean, found.low, found.high, found.count, None, None)
    p = float(stats.ttest_rel(one, other).pvalue)
    seen = spread / math.sqrt(found.count) * detectable(found.count)
    return Difference(found.mean, found.low, found.high, found.count, p, seen)


@functools.cache
def detectable(count: int) -> float:
    """Return the difference, in standard errors, that a test of `count` pairs finds with a probability of `POWER`.

    By the noncentral t distribution (Cohen 1988, Statistical Power Analysis, section 2.2).
    """
    from scipy import optimize, stats

    critical = stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)

    def missing(apart: float) -> float:
        return float(stats.nct.sf(critical, count - 1, apart)) - POWER  # the other side never comes to matter

    return float(optimize.brentq(missing, 0.1, 2 * critical + 3))


def share(parts: Sequence[float], wholes: Sequence[float]) -> Figure | None:
    """Return the ratio of the means of `parts` and `wholes`, pair by pair, with its 95% interval by Fieller (1954).

    None where the mean of the wholes is not clear of 0, so that there is nothing to be shared.
    """
    from scipy import stats

    count, part, whole = len(wholes), float(np.mean(parts)), float(np.mean(wholes))
    if count < 2:
        return Figure(part / whole, part / whole, part / whole, count) if count and whole else None
    covariance = np.cov(parts, wholes, ddof=1) / count * stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) ** 2
    a = whole**2 - covariance[1, 1]
    if a <= 0:
        return None
    b, c = part * whole - covariance[0, 1], part**2 - covariance[0, 0]
    root = math.sqrt(max(b**2 - a * c, 0.0))
    return Figure(part / whole, (b - root) / a, (b + root) / a, count)
