"""Whole numbers in few bytes: 7 bits a byte, the lowest first, the highest bit set in all but the last."""

from __future__ import annotations

from kdbench.errors import DamagedFile

MOST_BYTES = 5  # of one number: none is 2**35 or more


def as_bytes(number: int) -> bytes:
    """Return a number from 0 on."""
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def with_sign(number: int) -> int:
    """Return any whole number as one from 0 on: 0, -1, 1, -2 ... are 0, 1, 2, 3 ..."""
    return 2 * number if number >= 0 else -2 * number - 1


def without_sign(number: int) -> int:
    """Return the number that `with_sign` was given."""
    return -(number + 1) // 2 if number % 2 else number // 2


class Cursor:
    """Reads one thing after the other. Raises `DamagedFile` where nothing stands any more."""

    def __init__(self, content: bytes, at: int = 0) -> None:
        self.content = content
        self.at = at

    def number(self) -> int:
        """Return the number that stands here."""
        number = 0
        for place, byte in enumerate(self.content[self.at : self.at + MOST_BYTES]):
            number |= (byte & 127) << 7 * place
            if byte < 128:
                self.at += place + 1
                return number
        raise DamagedFile("it is cut off, or its header is damaged")

    def bytes(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        self.at += count
        if self.at > len(self.content):
            raise DamagedFile("it is cut off, or its header is damaged")
        return self.content[self.at - count : self.at]

    def line(self) -> bytes:
        """Return the bytes before the next end of a line, and stand behind it."""
        end = self.content.find(b"\n", self.at)
        if end < 0:
            raise DamagedFile("it is cut off, or its header is damaged")
        line, self.at = self.content[self.at : end], end + 1
        return line
