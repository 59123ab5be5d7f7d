"""Checks of single settings. Every one raises `BadSetting` with the field, the value and what is allowed."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from kdbench.errors import BadSetting, nearest


def within(field: str, value: Any, kind: type, allowed: str | Sequence[str]) -> None:
    """Require a value of `kind` that is `allowed`: in an interval, one of a few words, or anything if it is empty."""
    if kind is int:
        low, high = bounds(allowed)
        whole(field, value, int(low), None if math.isinf(high) else int(high))
    elif kind is float:
        real(field, value, str(allowed))
    elif allowed:
        one_of(field, value, allowed)
    elif not isinstance(value, kind):
        raise BadSetting(f"{field}={value} is not {in_words(kind, allowed)}")


def in_words(kind: type, allowed: str | Sequence[str]) -> str:
    """Say what `within` requires: `a whole number of at least 1`."""
    if kind is int:
        low, high = bounds(allowed)
        return f"a whole number {f'of at least {low:.0f}' if math.isinf(high) else f'from {low:.0f} to {high:.0f}'}"
    if kind is float:
        low, high = bounds(allowed)
        if math.isinf(high):
            return f"a number of at least {low:g}" if allowed[0] == "[" else f"a number above {low:g}"
        return f"a number in {allowed}"
    if allowed:
        return f"{', '.join(allowed[:-1])} or {allowed[-1]}"
    return "true or false" if kind is bool else "text"


def bounds(interval: str | Sequence[str]) -> tuple[float, float]:
    """Return the ends of an interval that is written as in mathematics: "[0, 1)", "(0, inf)"."""
    low, high = "".join(interval)[1:-1].split(",")
    return float(low), float(high)


def whole(field: str, value: Any, low: int, high: int | None = None) -> None:
    """Require an integer in [low, high]; True and False are not integers here."""
    allowed = f"a whole number of at least {low}" if high is None else f"a whole number from {low} to {high}"
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadSetting(f"{field}={value} is not {allowed}")
    if value < low or (high is not None and value > high):
        raise BadSetting(f"{field}={value} is out of range: it takes {allowed}")


def real(field: str, value: Any, interval: str) -> None:
    """Require a finite number inside `interval`, written as in mathematics: "[0, 1)", "(0, inf)"."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadSetting(f"{field}={value} is not a number in {interval}")
    low, high = bounds(interval)
    above = value >= low if interval[0] == "[" else value > low
    below = value <= high if interval[-1] == "]" else value < high
    if not (above and below):
        raise BadSetting(f"{field}={value} is out of range: it takes a number in {interval}")


def one_of(field: str, value: Any, choices: Sequence[str]) -> None:
    """Require one of a few words."""
    if value not in choices:
        raise BadSetting(f"{field}={value} is unknown: {nearest(str(value), choices)}")


TEMPERATURES = "[0.001, 1000]"  # beyond, powers of it are no numbers of single precision any more
MARKUP = set("<>|$`\\")
NAME = re.compile(r"[^\W_][\w.-]*")


def name(field: str, value: Any) -> None:
    """Require a name that is one part of a path, and nothing but a name in a table or a spreadsheet."""
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise BadSetting(
            f"{field}={value}: a name begins with a letter or digit, and goes on with letters, digits, _ . and -"
        )


def plain(field: str, text: str) -> None:
    """Require a text that is `inert`."""
    if not inert(text):
        raise BadSetting(
            f"{field}={text!r}: it may not begin with = + - @, nor hold < > | $ ` \\ or what cannot be printed"
        )


def inert(text: str) -> bool:
    """Whether `text` does nothing wherever a row is shown.

    No formula in a spreadsheet (which takes = + - @ at the beginning for one, CWE-1236), no control of a terminal, no
    markup of a page or a chart.
    """
    return text.isprintable() and not text.lstrip().startswith(("=", "+", "-", "@")) and not MARKUP & set(text)


def several(field: str, value: Any, example: str) -> None:
    """Require a list that is not empty; `example` is what one looks like."""
    if not isinstance(value, list | tuple) or not value:
        raise BadSetting(f"{field}={value} is not a list, such as {field}=[{example}]")


def widths(field: str, value: Any) -> None:
    """Require a non-empty list of positive whole numbers: the sizes of layers."""
    if not isinstance(value, list | tuple) or not value:
        raise BadSetting(f"{field}={value} is not a list of layer sizes, such as {field}=[256,128]")
    for size in value:
        whole(field, size, 1)
