"""Limits as typed, such as 20kB, 0.05ms and 99%: numbers with units. Imports no torch."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from kdbench.errors import BadSetting

# By lower-case letters: nobody means another thing by 20kb.
BYTES = {"": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
MILLISECONDS = {"": 1, "ms": 1, "us": 1e-3, "\u00b5s": 1e-3, "\u03bcs": 1e-3, "s": 1e3}  # both signs for micro
FRACTION = {"": 1, "%": 0.01}
NUMBER = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*(\D*?)\s*", re.IGNORECASE)


def bytes_of(option: str, typed: str) -> float:
    """Return a number of bytes. Raises `BadSetting` unless it is one above 0."""
    return positive(option, typed, BYTES, "a number of bytes, such as 20kB, 1.5MB or 20KiB")


def milliseconds_of(option: str, typed: str) -> float:
    """Return a time in milliseconds. Raises `BadSetting` unless it is one above 0."""
    return positive(option, typed, MILLISECONDS, "a time, such as 0.05ms, 50us or 0.1s")


def fraction_of(option: str, typed: str) -> float:
    """Return a fraction in [0, 1]. Raises `BadSetting` for anything else."""
    fraction = number(option, typed, FRACTION, "a fraction, such as 0.99 or 99%")
    if not 0 <= fraction <= 1:
        meant = f"{typed}%" if 1 < fraction <= 100 and "%" not in typed else "0.99 or 99%"
        raise BadSetting(f"{option} {typed} is no fraction from 0 to 1: type {option} {meant}")
    return fraction


def positive(option: str, typed: str, units: Mapping[str, float], takes: str) -> float:
    """Return a number that is above 0, in the unit that needs no name."""
    value = number(option, typed, units, takes)
    if value <= 0:
        raise BadSetting(f"{option} {typed} is not above 0, which nothing keeps to: type {takes}")
    return value


def number(option: str, typed: str, units: Mapping[str, float], takes: str) -> float:
    """Return a finite number, in the unit that needs no name. Raises `BadSetting`, which says what it `takes`."""
    found = NUMBER.fullmatch(typed)
    unit = units.get(found[2].lower()) if found else None
    value = float(found[1]) * unit if found and unit is not None else math.nan
    if not math.isfinite(value):
        raise BadSetting(f"{option} {typed} is not {takes}")
    return value
