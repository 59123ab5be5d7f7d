"""What a paper says, beside what was found here: read from YAML, and judged from rows. Imports no torch."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kdbench.errors import BadSetting
from kdbench.results.paired import Figure, difference, digits, figure, share
from kdbench.results.row import NUMBERS, Row

Rows = Mapping[str, Sequence[Row]]
"""The rows of each run of a reproduction, by its name."""

BOUNDS = {"at most": operator.le, "at least": operator.ge}


OF_A_CLASS = "errors_by_class."  # a column of counts, one of which is meant: errors_by_class.3
DIRECTIONS = ("lower", "higher", "alike")
FAILED = "failed: it has no rows"
LESS_IS_BETTER = re.compile(r"errors|nll|ece|kl|_bytes|_ms|_seconds")


@dataclass(frozen=True)
class Claim:
    """One claim of a paper: what a `run`'s `column` is, or, with `than`, how it is beside another's.

    With `of` beside `than`, it is which share of the way from the one to the other it goes.
    `reach`: the bound that we set out to reach, such as `at most 70`; of a comparison `lower`, `higher` or `alike`,
    the last `within` so much.
    """

    says: str
    run: str
    column: str
    paper: str
    reach: str
    than: str | None = None
    of: str | None = None
    within: str | None = None

    @property
    def is_comparison(self) -> bool:
        """Whether it is about a difference, and not about a figure."""
        return self.than is not None and self.of is None

    @property
    def what(self) -> str:
        """What its figure is, in words."""
        if self.of is not None:
            return f"share of the way in {self.column} from {self.than} to {self.of}"
        return f"{self.column}, {self.run} less {self.than}" if self.than else self.column


@dataclass(frozen=True)
class Judged:
    """A claim, and what was found: the figure, how many seeds it is of, and the verdict, in words."""

    claim: Claim
    ours: str
    seeds: int
    verdict: str


def claim_of(node: Any, runs: Sequence[str]) -> Claim:
    """Return the claim that a YAML has. Raises `BadSetting`, with what is wrong, if it is none."""
    try:
        claim = Claim(**{str(key): value if value is None else str(value) for key, value in dict(node).items()})
    except (TypeError, ValueError) as error:
        raise BadSetting(f"a claim is not one ({error})") from error
    for run in filter(None, (claim.run, claim.than, claim.of)):
        if run not in runs:
            raise BadSetting(f"claim '{claim.says}': there is no run {run}")
    of_a_class = claim.column.removeprefix(OF_A_CLASS)
    if claim.column not in NUMBERS and not (claim.column.startswith(OF_A_CLASS) and of_a_class.isdecimal()):
        raise BadSetting(f"claim '{claim.says}': {claim.column} is no column of numbers")
    if claim.of is not None and claim.than is None:
        raise BadSetting(f"claim '{claim.says}': a share of the way to {claim.of} needs `than`, where that begins")
    if not claim.is_comparison:
        bound_of(claim)
    elif claim.reach not in DIRECTIONS:
        raise BadSetting(f"claim '{claim.says}': it reaches {', '.join(DIRECTIONS)}, and not {claim.reach}")
    elif (claim.reach == "alike") != (claim.within is not None):
        raise BadSetting(f"claim '{claim.says}': what reaches alike, and nothing else, is so `within` a number")
    elif claim.within is not None and not is_margin(claim.within):
        raise BadSetting(f"claim '{claim.says}': within {claim.within} is no number above 0")
    return claim


def is_margin(text: str) -> bool:
    """Whether a text is a finite number above 0."""
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False


def bound_of(claim: Claim) -> tuple[str, float]:
    """Return `at most` or `at least`, and the number. Raises `BadSetting`."""
    for words in BOUNDS:
        if claim.reach.startswith(f"{words} "):
            try:
                bound = float(claim.reach.removeprefix(words))
            except ValueError:
                break
            if math.isfinite(bound):
                return words, bound
    raise BadSetting(f"claim '{claim.says}': {claim.reach} is no bound such as 'at most 70'")


def judged(claim: Claim, rows: Rows, dataset: str | None = None, seeds: int = 0) -> Judged:
    """Return what was found of a claim, which is about `dataset`; None: about any.

    Where a run has rows of fewer than `seeds` seeds nothing is decided: those that failed are not left out of a mean.
    """
    found = weighed(claim, rows, dataset)
    failed = seeds - found.seeds
    if found.seeds and failed > 0:
        return replace(found, verdict=f"not decided: {failed} of {seeds} seeds failed")
    return found


def weighed(claim: Claim, rows: Rows, dataset: str | None) -> Judged:
    """Return what the rows that there are say of a claim."""
    used = {row.dataset for run in filter(None, (claim.run, claim.than, claim.of)) for row in rows.get(run, ())}
    if dataset is not None and used - {dataset}:
        return Judged(claim, "", 0, f"not comparable: it is about {dataset}, and rows are of {', '.join(used)}")
    own = by_seed(claim.column, rows.get(claim.run, ()))
    if claim.than is None:
        return of_a_figure(claim, [*own.values()])
    other = by_seed(claim.column, rows.get(claim.than, ()))
    if claim.of is None:
        seeds = sorted(own.keys() & other.keys())
        return of_a_comparison(claim, [own[seed] for seed in seeds], [other[seed] for seed in seeds])
    goal = by_seed(claim.column, rows.get(claim.of, ()))
    seeds = sorted(own.keys() & other.keys() & goal.keys())
    if not seeds:
        return Judged(claim, "", 0, FAILED)
    if len(seeds) < 2:
        return Judged(claim, "", len(seeds), "one seed: nothing can be said")
    ways = [goal[seed] - other[seed] for seed in seeds]
    found = share([own[seed] - other[seed] for seed in seeds], ways)
    if found is None or (sum(ways) > 0) == bool(LESS_IS_BETTER.search(claim.column)):
        return Judged(
            claim,
            "",
            len(seeds),
            f"{claim.of} is not shown to be better than {claim.than}: there is nothing to have a share of",
        )
    return held_against(claim, found)


def by_seed(column: str, rows: Sequence[Row]) -> dict[int, float]:
    """Return the values of a column, one a seed."""
    return {row.seed: value for row in rows if (value := value_of(row, column)) is not None}


def value_of(row: Row, column: str) -> float | None:
    """Return the number in a column, or in the part of it that is meant."""
    if column.startswith(OF_A_CLASS):
        counts = dict(word.split("=") for word in (row.errors_by_class or "").split())
        return float(counts[number]) if (number := column.removeprefix(OF_A_CLASS)) in counts else None
    value = getattr(row, column)
    return None if value is None else float(value)


def of_a_figure(claim: Claim, values: Sequence[float]) -> Judged:
    """Return whether the mean is within its bound."""
    return held_against(claim, figure(values)) if values else Judged(claim, "", 0, FAILED)


def held_against(claim: Claim, found: Figure) -> Judged:
    """Return whether a figure is within its bound; beyond it, by how much; and whether that is noise."""
    words, bound = bound_of(claim)
    verdict = "reached" if BOUNDS[words](found.mean, bound) else f"short by {digits(abs(found.mean - bound), 3)}"
    if found.low <= bound <= found.high and found.count > 1:
        verdict += ", within noise"
    return Judged(claim, str(found), found.count, verdict)


def of_a_comparison(claim: Claim, one: Sequence[float], other: Sequence[float]) -> Judged:
    """Return whether the difference is shown, in the direction of the claim, or that there is none worth the name.

    The latter where the 95% interval lies within the claim's margin (two one-sided tests, Schuirmann 1987, at 2.5%).
    """
    if not one:
        return Judged(claim, "", 0, FAILED)
    found = difference(one, other)
    if claim.within is None:
        verdict = found.verdict
        if found.shown:
            verdict += ", as claimed" if found.direction == claim.reach else ": not as claimed"
        return Judged(claim, str(found), found.count, verdict)
    margin = float(claim.within)
    if found.p is None:
        verdict = found.verdict
    elif -margin <= found.low and found.high <= margin:
        verdict = f"alike within {margin:g}, as claimed"
    elif found.shown:
        verdict = f"{found.verdict}: not as claimed"
    else:
        verdict = f"not decided: neither a difference nor likeness within {margin:g} is shown"
    return Judged(claim, str(found), found.count, verdict)
