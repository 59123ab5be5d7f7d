"""The numbers of a tensor as symbols: the bytes of each, where zeros and repeated numbers are found first.

Of a tensor of several axes, what is written first of each number can be written beside its left neighbour.

Nothing here rounds: the bytes that come back are those that were given. Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from kdbench.artifact.packing.symbols import Reader, Tally, Writer
from kdbench.errors import DamagedFile

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
WAYS = 6  # each of the three, and each of them beside neighbours
MOST_COLOURS = 256
MOST_COLUMNS = 2**16


@dataclass(frozen=True)
class TensorForm:
    """What is known of a tensor before its numbers: their type in ONNX, and its shape."""

    data_type: int
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many numbers there are."""
        return math.prod(self.shape)

    @property
    def matrix(self) -> tuple[int, int]:
        """Rows and columns: the first axis, and all others."""
        rows = self.shape[0] if len(self.shape) > 1 else 1
        return rows, self.count // max(rows, 1)

    @property
    def has_neighbours(self) -> bool:
        """Whether its numbers may be written beside their neighbours: column by column, and many take long."""
        rows, columns = self.matrix
        return rows > 1 and 1 < columns <= MOST_COLUMNS

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


def split(content: bytes, form: TensorForm) -> np.ndarray:
    """Return the parts of each number, the highest first: uint8 (count, parts)."""
    if form.bits < 8:
        each = 8 // form.bits
        shifts = np.arange(each, dtype=np.uint8) * form.bits
        packed = np.frombuffer(content, np.uint8)[:, None]
        return ((packed >> shifts) & (form.alphabet - 1)).reshape(-1, 1)[: form.count]
    return np.frombuffer(content, np.uint8).reshape(form.count, form.parts)[:, ::-1]


def joined(parts: np.ndarray, form: TensorForm) -> bytes:
    """Return the bytes that `split` gave these parts of."""
    if form.bits < 8:
        each = 8 // form.bits
        padded = np.zeros((form.size_bytes * each,), np.uint8)
        padded[: form.count] = parts[:, 0]
        shifts = np.arange(each, dtype=np.uint8) * form.bits
        return np.bitwise_or.reduce(padded.reshape(-1, each) << shifts, axis=1).astype(np.uint8).tobytes()
    return np.ascontiguousarray(parts[:, ::-1]).tobytes()


def write(sink: Writer, content: bytes, form: TensorForm) -> None:
    """Write the numbers in the way that takes the fewest bits."""
    parts = split(content, form)

    def bits(way: int, beside: bool) -> float:
        tally = Tally(sink.memory.copy())
        write_as(way, beside, tally, parts, form)
        return tally.bits

    costs = {(way, beside): bits(way, beside) for way, beside in ways(parts, form)}
    write_as(*min(costs, key=costs.__getitem__), sink, parts, form)


def ways(parts: np.ndarray, form: TensorForm) -> Sequence[tuple[int, bool]]:
    """Return the ways in which these numbers can be written, each with whether it is beside neighbours."""
    found = [PLAIN]
    if len(parts) and not parts.any(1).all():
        found.append(SPARSE)
    if len(parts) > 1 and form.bits > 8 and len(palette_of(parts)[0]) <= MOST_COLOURS:
        found.append(PALETTE)
    return [(way, beside) for way in found for beside in ((False, True) if form.has_neighbours else (False,))]


def write_as(way: int, beside: bool, sink: Tally, parts: np.ndarray, form: TensorForm) -> None:
    """Write numbers in one of the `ways`."""
    sink.write(np.array([way + 3 * beside]), WAYS, "way")
    if way == PALETTE:
        colours, which = palette_of(parts)
        sink.write(np.array([len(colours) - 1]), MOST_COLOURS, "colours")
        write_parts(sink, colours, form, f"palette {form.data_type}")
        write_first(sink, which.astype(np.uint8), len(colours), "which", form, beside)
        return
    kind = f"{form.data_type}"
    if way == SPARSE:
        there = parts.any(1)
        write_first(sink, there.astype(np.uint8), 2, "there", form, beside)
        write_parts(sink, parts[there], form, kind)
        return
    write_first(sink, parts[:, 0], form.alphabet, f"{kind}.0", form, beside)
    write_parts(sink, parts, form, kind, after=1)


def write_first(sink: Tally, symbols: np.ndarray, alphabet: int, kind: str, form: TensorForm, beside: bool) -> None:
    """Write the first symbol of each number of a tensor."""
    if beside:
        sink.write_columns(symbols.reshape(form.matrix), alphabet, kind)
    else:
        sink.write(symbols, alphabet, kind)


def write_parts(sink: Tally, parts: np.ndarray, form: TensorForm, kind: str, after: int = 0) -> None:
    """Write the parts of numbers `after` some, all first ones before all second ones."""
    for number in range(after, form.parts):
        sink.write(parts[:, number], form.alphabet, f"{kind}.{number}")


def palette_of(parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the different numbers, uint8 (colours, parts), and which of them each number is, (count,)."""
    whole = np.zeros(len(parts), np.uint64)
    for part in parts.T:
        whole = whole << np.uint64(8) | part
    _, first, which = np.unique(whole, return_index=True, return_inverse=True)
    return parts[first], which.ravel()


def read(source: Reader, form: TensorForm) -> bytes:
    """Return the numbers that were written. Raises `DamagedFile` for what no `write` gives, or gives any numbers."""
    beside, way = divmod(int(source.read(1, WAYS, "way")[0]), 3)
    if beside and not form.has_neighbours:
        raise DamagedFile("its numbers cannot be read")
    if way == PALETTE:
        colours = int(source.read(1, MOST_COLOURS, "colours")[0]) + 1
        palette = read_parts(source, colours, form, f"palette {form.data_type}")
        return joined(palette[read_first(source, colours, "which", form, beside)], form)
    kind, parts = f"{form.data_type}", np.zeros((form.count, form.parts), np.uint8)
    if way == SPARSE:
        there = read_first(source, 2, "there", form, beside).astype(bool)
        parts[there] = read_parts(source, int(there.sum()), form, kind)
        return joined(parts, form)
    parts[:, 0] = read_first(source, form.alphabet, f"{kind}.0", form, beside)
    parts[:, 1:] = read_parts(source, form.count, form, kind, after=1)
    return joined(parts, form)


def read_first(source: Reader, alphabet: int, kind: str, form: TensorForm, beside: int) -> np.ndarray:
    """Return the first symbol of each number, uint8 (count,)."""
    if beside:
        return source.read_columns(form.matrix, alphabet, kind).ravel()
    return source.read(form.count, alphabet, kind)


def read_parts(source: Reader, count: int, form: TensorForm, kind: str, after: int = 0) -> np.ndarray:
    """Return the parts of `count` numbers `after` some, uint8 (count, parts)."""
    parts = np.empty((count, form.parts - after), np.uint8)
    for number in range(after, form.parts):
        parts[:, number - after] = source.read(count, form.alphabet, f"{kind}.{number}")
    return parts
