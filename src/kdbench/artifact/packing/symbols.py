"""Symbols to bytes and back, through a range coder whose model learns from what it has coded. Imports no torch.

The model of a symbol is how often each was seen before, so that no table travels. It is renewed in blocks, each half
as long as all before it, which costs next to nothing and lets a block be coded at once. Symbols of one `kind` (all
weights of 4 bits, say) begin with what was seen of that kind in earlier tensors. Those of a matrix can be coded
column by column, each by what was seen beside symbols like the one to its left: `neighbours`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from constriction import stream

from kdbench.artifact.packing import neighbours
from kdbench.artifact.packing.neighbours import CONTEXTS, FIRST_BLOCK, Neighbours
from kdbench.errors import DamagedFile

UNSEEN = 0.375  # what a symbol counts before it is seen
EIGHTHS = 8  # all counts are eighths, whose sums are exact: every machine finds the same model
REMEMBERED = 24.0  # what all symbols of earlier tensors count together


class Counts:
    """How often each of `alphabet` symbols is to be expected; changed by `see`."""

    def __init__(self, alphabet: int, before: np.ndarray | None = None) -> None:
        self.seen = np.full(alphabet, UNSEEN)
        if before is not None:
            self.seen += remembered(before)

    @property
    def probabilities(self) -> np.ndarray:
        """Float64 (alphabet,), which sum to 1."""
        return self.seen / self.seen.sum()

    def see(self, symbols: np.ndarray) -> None:
        """Expect these more often from now on."""
        self.seen += np.bincount(symbols, minlength=len(self.seen))


def remembered(before: np.ndarray) -> np.ndarray:
    """Return what counts of earlier tensors count in the next: `REMEMBERED` together at most, in whole eighths."""
    return np.floor(before * min(1.0, REMEMBERED / max(before.sum(), 1)) * EIGHTHS) / EIGHTHS


def beside(kind: str, context: int) -> str:
    """Return the kind of symbols that stand to the right of some."""
    return f"{kind} beside {context}"


class Seen:
    """What was seen of each kind of symbol, whatever tensor it stood in."""

    def __init__(self) -> None:
        self.of: dict[tuple[str, int], np.ndarray] = {}

    def counts(self, kind: str, alphabet: int) -> Counts:
        """Return what to expect of symbols of this kind."""
        return Counts(alphabet, self.of.get((kind, alphabet)))

    def add(self, kind: str, alphabet: int, symbols: np.ndarray) -> None:
        """Remember `symbols`."""
        before = self.of.get((kind, alphabet), np.zeros(alphabet))
        self.of[kind, alphabet] = before + np.bincount(symbols, minlength=alphabet)

    def add_columns(self, matrix: np.ndarray, alphabet: int, kind: str, model: Neighbours) -> None:
        """Remember the symbols of a matrix, and beside which others each stood."""
        self.add(kind, alphabet, matrix.ravel())
        padded = neighbours.padded(matrix)
        contexts = model.contexts(padded[:, 1:-1], padded[:, :-2]).ravel()
        for context in np.unique(contexts).tolist():
            self.add(beside(kind, context), alphabet, matrix.ravel()[contexts == context])

    def neighbours(self, kind: str, alphabet: int) -> Neighbours:
        """Return what to expect of symbols of this kind beside others of it."""
        before = [self.of.get((beside(kind, context), alphabet)) for context in range(CONTEXTS)]
        counts = np.stack([np.zeros(alphabet) if seen is None else remembered(seen) for seen in before])
        return Neighbours(alphabet, self.counts(kind, alphabet).seen, counts)

    def copy(self) -> Seen:
        """Return a memory that can change without this one."""
        copied = Seen()
        copied.of = dict(self.of)
        return copied


def blocks(count: int) -> Iterator[tuple[int, int]]:
    """Yield beginning and end of each block of `count` symbols."""
    begin = 0
    while begin < count:
        end = min(count, begin + max(FIRST_BLOCK, begin // 2))
        yield begin, end
        begin = end


class Tally:
    """Counts the bits that symbols would take, and writes nothing."""

    def __init__(self, memory: Seen | None = None) -> None:
        self.memory = memory or Seen()
        self.bits = 0.0

    def write(self, symbols: np.ndarray, alphabet: int, kind: str) -> None:
        """Add `symbols`, whole numbers in [0, alphabet), of shape (n,). Of an alphabet of one, nothing is written."""
        if alphabet == 1:
            return
        counts = self.memory.counts(kind, alphabet)
        for begin, end in blocks(len(symbols)):
            block = symbols[begin:end]
            self._code(block, counts.probabilities)
            counts.see(block)
        self.memory.add(kind, alphabet, symbols)

    def write_columns(self, matrix: np.ndarray, alphabet: int, kind: str) -> None:
        """Add the symbols of a matrix (rows, columns), a column after the other, each by the one to its left."""
        if alphabet == 1:
            return
        model, padded = self.memory.neighbours(kind, alphabet), neighbours.padded(matrix)
        for column, rows in neighbours.blocks(*matrix.shape):
            block = matrix[rows, column]
            split = neighbours.groups(model.contexts(padded[rows, column + 1], padded[rows, column]))
            for context, places in split:
                self._code(block[places], model.probabilities(context))
            for context, places in split:
                model.see(context, block[places])
        self.memory.add_columns(matrix, alphabet, kind, model)

    def _code(self, block: np.ndarray, probabilities: np.ndarray) -> None:
        self.bits -= float(np.log2(probabilities[block]).sum())


class Writer(Tally):
    """Codes symbols."""

    def __init__(self) -> None:
        super().__init__()
        self.coder = stream.queue.RangeEncoder()

    def _code(self, block: np.ndarray, probabilities: np.ndarray) -> None:
        self.coder.encode(block.astype(np.int32), stream.model.Categorical(probabilities, perfect=False))

    def content(self) -> bytes:
        """Return all of it: whole words of 4 bytes, little-endian."""
        return self.coder.get_compressed().astype("<u4").tobytes()


class Reader:
    """Gives back the symbols that a `Writer` was given, if asked for in the same order."""

    def __init__(self, content: bytes) -> None:
        self.memory = Seen()
        self.coder = stream.queue.RangeDecoder(
            np.frombuffer(content[: len(content) // 4 * 4], "<u4").astype(np.uint32)
        )

    def read(self, count: int, alphabet: int, kind: str) -> np.ndarray:
        """Return `count` symbols in [0, alphabet), uint8 (count,).

        What was not written gives any symbols, or raises `DamagedFile`.
        """
        symbols = np.zeros(count, np.uint8)
        if alphabet == 1:
            return symbols
        counts = self.memory.counts(kind, alphabet)
        for begin, end in blocks(count):
            symbols[begin:end] = self._decoded(counts.probabilities, end - begin)
            counts.see(symbols[begin:end])
        self.memory.add(kind, alphabet, symbols)
        return symbols

    def read_columns(self, shape: tuple[int, int], alphabet: int, kind: str) -> np.ndarray:
        """Return the symbols of a matrix of this shape, as `read` does."""
        padded = neighbours.padded(np.zeros(shape, np.uint8))
        matrix = padded[:, 2:]
        if alphabet == 1:
            return matrix
        model = self.memory.neighbours(kind, alphabet)
        for column, rows in neighbours.blocks(*shape):
            split = neighbours.groups(model.contexts(padded[rows, column + 1], padded[rows, column]))
            block = matrix[rows, column]
            for context, places in split:
                block[places] = self._decoded(model.probabilities(context), len(places))
            for context, places in split:
                model.see(context, block[places])
        self.memory.add_columns(matrix, alphabet, kind, model)
        return matrix

    def _decoded(self, probabilities: np.ndarray, count: int) -> np.ndarray:
        model = stream.model.Categorical(probabilities, perfect=False)
        try:
            return self.coder.decode(model, count)
        except AssertionError as error:  # what constriction raises for bits that no encoder writes
            raise DamagedFile("its numbers cannot be read") from error
