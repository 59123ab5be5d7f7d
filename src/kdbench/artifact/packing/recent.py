"""Values of which many are equal: each as how long ago the like of it was seen, and after all the new ones.

What repeats then repeats literally, whatever the values are (move to front; Bentley and others, CACM 29(4), 1986).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from kdbench.artifact.packing.whole_numbers import Cursor, as_bytes
from kdbench.errors import DamagedFile

REMEMBERED = 64  # values; a longer memory would take its time of a hostile file
NEW = 0  # others are the place in the memory, from 1 on

Value = TypeVar("Value")


def written(values: Iterable[Value], new: Callable[[Value], bytes]) -> bytes:
    """Return the bytes of `values`, of which `new` are the bytes of one."""
    places, unseen = bytearray(), bytearray()
    memory: list[Value] = []
    for value in values:
        if value in memory:
            places += as_bytes(memory.index(value) + 1)
            memory.remove(value)
        else:
            places += as_bytes(NEW)
            unseen += new(value)
        remember(memory, value)
    return bytes(places + unseen)


def read(cursor: Cursor, count: int, new: Callable[[Cursor], Value]) -> list[Value]:
    """Return so many values, of which `new` reads one. Raises `DamagedFile`."""
    places = [cursor.number() for _ in range(count)]
    values: list[Value] = []
    memory: list[Value] = []
    for place in places:
        if place > len(memory):
            raise DamagedFile("its graph refers to what it does not hold")
        value = new(cursor) if place == NEW else memory.pop(place - 1)
        remember(memory, value)
        values.append(value)
    return values


def remember(memory: list[Value], value: Value) -> None:
    """Put a value first, in place; the oldest is forgotten."""
    memory.insert(0, value)
    del memory[REMEMBERED:]
