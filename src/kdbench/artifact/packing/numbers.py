"""The numbers of a tensor as symbols: the bytes of each, where zeros and repeated numbers are told apart first.

Nothing here rounds: the bytes that come back are those that were given. Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from kdbench.artifact.packing.symbols import Reader, Tally, Writer

# Bits of a number, by its type in the file. Others (text, complex numbers) stay in the graph.
BITS = {
    **dict.fromkeys((TensorProto.INT2, TensorProto.UINT2), 2),
    **dict.fromkeys((TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT4E2M1), 4),
    **dict.fromkeys((TensorProto.INT8, TensorProto.UINT8, TensorProto.BOOL), 8),
    **dict.fromkeys((TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.INT16, TensorProto.UINT16), 16),
    **dict.fromkeys((TensorProto.FLOAT, TensorProto.INT32, TensorProto.UINT32), 32),
    **dict.fromkeys((TensorProto.DOUBLE, TensorProto.INT64, TensorProto.UINT64), 64),
}
PLAIN, SPARSE, PALETTE = range(3)
MOST_COLOURS = 256


@dataclass(frozen=True)
class Form:
    """What is known of a tensor before its numbers: their type in ONNX, and how many there are."""

    data_type: int
    count: int

    @property
    def bits(self) -> int:
        """Of one number."""
        return BITS[self.data_type]

    @property
    def size_bytes(self) -> int:
        """Of all, as ONNX stores them: those of fewer than 8 bits share bytes."""
        return math.ceil(self.count * self.bits / 8)

    @property
    def alphabet(self) -> int:
        """How many symbols there are of a part of a number."""
        return 2 ** min(self.bits, 8)

    @property
    def parts(self) -> int:
        """How many symbols make a number."""
        return max(1, self.bits // 8)

    def kind(self, part: int) -> str:
        """What parts of numbers are like, which are alike in all tensors of this type."""
        return f"{self.data_type}.{part}"


def split(content: bytes, form: Form) -> np.ndarray:
    """Return the parts of each number, the highest first: uint8 (count, parts)."""
    if form.bits < 8:
        each = 8 // form.bits
        shifts = np.arange(each, dtype=np.uint8) * form.bits
        packed = np.frombuffer(content, np.uint8)[:, None]
        return ((packed >> shifts) & (form.alphabet - 1)).reshape(-1, 1)[: form.count]
    return np.frombuffer(content, np.uint8).reshape(form.count, form.parts)[:, ::-1]


def joined(parts: np.ndarray, form: Form) -> bytes:
    """Return the bytes that `split` gave these parts of."""
    if form.bits < 8:
        each = 8 // form.bits
        padded = np.zeros((form.size_bytes * each,), np.uint8)
        padded[: form.count] = parts[:, 0]
        shifts = np.arange(each, dtype=np.uint8) * form.bits
        return np.bitwise_or.reduce(padded.reshape(-1, each) << shifts, axis=1).astype(np.uint8).tobytes()
    return np.ascontiguousarray(parts[:, ::-1]).tobytes()


def write(sink: Writer, content: bytes, form: Form) -> None:
    """Write the numbers in the way that takes the fewest bits."""
    parts = split(content, form)
    costs = {}
    for way in ways(parts):
        tally = Tally(sink.memory.copy())
        write_as(way, tally, parts, form)
        costs[way] = tally.bits
    write_as(min(costs, key=costs.__getitem__), sink, parts, form)


def ways(parts: np.ndarray) -> Sequence[int]:
    """Return the ways in which these numbers can be written."""
    found = [PLAIN]
    if len(parts) and not parts.any(1).all():
        found.append(SPARSE)
    if len(parts) > 1 and len(palette_of(parts)[0]) <= MOST_COLOURS:
        found.append(PALETTE)
    return found


def write_as(way: int, sink: Tally, parts: np.ndarray, form: Form) -> None:
    """Write numbers in one of the `ways`."""
    sink.write(np.array([way]), 3, "way")
    if way == PALETTE:
        colours, which = palette_of(parts)
        sink.write(np.array([len(colours) - 1]), MOST_COLOURS, "colours")
        write_parts(sink, colours, form, f"palette {form.data_type}")
        sink.write(which, len(colours), "which")
        return
    if way == SPARSE:
        there = parts.any(1)
        sink.write(there.astype(np.uint8), 2, "there")
        parts = parts[there]
    write_parts(sink, parts, form, f"{form.data_type}")


def write_parts(sink: Tally, parts: np.ndarray, form: Form, kind: str) -> None:
    """Write the parts of numbers, all first ones before all second ones."""
    for number, part in enumerate(parts.T):
        sink.write(part, form.alphabet, f"{kind}.{number}")


def palette_of(parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the different numbers, uint8 (colours, parts), and which of them each number is, (count,)."""
    whole = np.zeros(len(parts), np.uint64)
    for part in parts.T:
        whole = whole << np.uint64(8) | part
    _, first, which = np.unique(whole, return_index=True, return_inverse=True)
    return parts[first], which.ravel()


def read(source: Reader, form: Form) -> bytes:
    """Return the numbers that were written. Raises `DamagedFile` for what no `write` gives, or gives any numbers."""
    (way,) = source.read(1, 3, "way")
    if way == PALETTE:
        colours = int(source.read(1, MOST_COLOURS, "colours")[0]) + 1
        palette = read_parts(source, colours, form, f"palette {form.data_type}")
        return joined(palette[source.read(form.count, colours, "which")], form)
    if way == PLAIN:
        return joined(read_parts(source, form.count, form, f"{form.data_type}"), form)
    there = source.read(form.count, 2, "there").astype(bool)
    parts = np.zeros((form.count, form.parts), np.uint8)
    parts[there] = read_parts(source, int(there.sum()), form, f"{form.data_type}")
    return joined(parts, form)


def read_parts(source: Reader, count: int, form: Form, kind: str) -> np.ndarray:
    """Return the parts of `count` numbers, uint8 (count, parts)."""
    parts = np.empty((count, form.parts), np.uint8)
    for number in range(form.parts):
        parts[:, number] = source.read(count, form.alphabet, f"{kind}.{number}")
    return parts
