"""Names in few bytes: first their texts without numbers (see `recent`), each new one a line, then the numbers,
each as the step (`with_sign`) since the same text before.

So the names of a layer that is repeated (`1.0.weight`, `1.3.weight`, `1.6.weight`) repeat literally.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from kdbench.artifact.packing import recent
from kdbench.artifact.packing.whole_numbers import Cursor, as_bytes, with_sign, without_sign
from kdbench.errors import DamagedFile

NUMBER = re.compile("0|[1-9][0-9]{0,8}")  # what str(int(...)) gives back
PLACE = "\0"  # of a number in a text


def written(names: Sequence[str]) -> bytes:
    """Return the bytes of `names`. Those with zero bytes or ends of lines do not come back."""
    steps = bytearray()
    texts = [NUMBER.sub(PLACE, name) for name in names]
    last: dict[str, list[int]] = {}
    for name, text in zip(names, texts, strict=True):
        numbers = [int(digits) for digits in NUMBER.findall(name)]
        for now, before in zip(numbers, last.get(text, [0] * len(numbers)), strict=True):
            steps += as_bytes(with_sign(now - before))
        last[text] = numbers
    return recent.written(texts, lambda text: f"{text}\n".encode()) + bytes(steps)


def read(cursor: Cursor, count: int, most: int) -> list[str]:
    """Return so many names. Raises `DamagedFile`, also if they take much more than `most` bytes."""
    try:
        texts = recent.read(cursor, count, lambda cursor: cursor.line().decode())
    except UnicodeDecodeError as error:
        raise DamagedFile(f"its names cannot be read ({error})") from error
    if sum(map(len, texts)) > most:
        raise DamagedFile("its names are larger than its header says")
    names = []
    last: dict[str, list[int]] = {}
    for text in texts:
        parts = text.split(PLACE)
        numbers = [before + without_sign(cursor.number()) for before in last.get(text, [0] * (len(parts) - 1))]
        last[text] = numbers
        names.append("".join(part + str(number) for part, number in zip(parts, numbers, strict=False)) + parts[-1])
    return names
