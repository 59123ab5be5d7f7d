"""Checks of single settings. Every one raises `BadSetting` with the field, the value and what is allowed."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from kdbench.errors import BadSetting, nearest


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
    low, high = (float(bound) for bound in interval[1:-1].split(","))
    above = value >= low if interval[0] == "[" else value > low
    below = value <= high if interval[-1] == "]" else value < high
    if not (above and below):
        raise BadSetting(f"{field}={value} is out of range: it takes a number in {interval}")


def one_of(field: str, value: Any, choices: Sequence[str]) -> None:
    """Require one of a few words."""
    if value not in choices:
        raise BadSetting(f"{field}={value} is unknown: {nearest(str(value), choices)}")


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
