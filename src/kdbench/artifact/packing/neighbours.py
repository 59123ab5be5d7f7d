"""The model of symbols in a matrix, each by what was seen to the right of symbols like its left neighbour.

Weights of neighbouring pixels are alike, and pruned ones stand side by side. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

KNOWN = 16  # a left neighbour is known by its four highest bits,
CONTEXTS = 2 * KNOWN  # and by whether it is as the one to its own left
ALL = 8.0  # what symbols beside any neighbour count together, where a symbol is expected beside one
GRAINS = 64  # counts are whole in these, so that their sums are exact: every machine finds the same model
FIRST_BLOCK = 16  # symbols, after which a model is renewed for the first time
RENEWED = 0.125  # of what was seen beside a neighbour: as much more of it makes the model anew


class Neighbours:
    """How often each of `alphabet` symbols is to be expected in each of `CONTEXTS`.

    `alone`: how often each is to be expected in any; `beside`: the same of each context, (CONTEXTS, alphabet), as
    earlier tensors have it.
    """

    def __init__(self, alphabet: int, alone: np.ndarray, beside: np.ndarray) -> None:
        self.alone = alone.copy()
        self.beside = beside.copy()
        self.shift = max(0, (alphabet - 1).bit_length() - (KNOWN - 1).bit_length())
        self.total = beside.sum(1).tolist()  # of each context
        self.unused = [np.inf] * CONTEXTS  # how much was seen since the model of a context was made
        self.models: list[np.ndarray] = [np.empty(0)] * CONTEXTS

    def contexts(self, left: np.ndarray, before: np.ndarray) -> np.ndarray:
        """Return the context of symbols, by those to the left of them, and by those `before` these."""
        return 2 * (left >> self.shift) + (left == before)

    def probabilities(self, context: int) -> np.ndarray:
        """Return float64 (alphabet,), which sum to 1: the same array until it is renewed."""
        if self.unused[context] >= RENEWED * self.total[context]:
            share = self.alone * (ALL / self.alone.sum())
            counts = self.beside[context] + np.maximum(np.floor(share * GRAINS), 1) / GRAINS
            self.models[context] = counts / counts.sum()
            self.unused[context] = 0
        return self.models[context]

    def see(self, context: int, symbols: np.ndarray) -> None:
        """Expect these more often from now on."""
        seen = np.bincount(symbols, minlength=len(self.alone))
        self.alone += seen
        self.beside[context] += seen
        self.total[context] += len(symbols)
        self.unused[context] += len(symbols)


def blocks(rows: int, columns: int) -> Iterator[tuple[int, slice]]:
    """Yield a column and some of its rows, again and again, until all of a matrix is done: few at a time at first."""
    done = 0
    for column in range(columns):
        begin = 0
        while begin < rows:
            end = min(rows, begin + max(FIRST_BLOCK, done // 2))
            yield column, slice(begin, end)
            done += end - begin
            begin = end


def groups(contexts: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Return each context that there is, and where: whole numbers (n,), rising."""
    order = np.argsort(contexts, kind="stable")
    ends = np.cumsum(np.bincount(contexts)).tolist()
    begins = [0, *ends[:-1]]
    return [(n, order[begin:end]) for n, (begin, end) in enumerate(zip(begins, ends, strict=True)) if end > begin]


def padded(matrix: np.ndarray) -> np.ndarray:
    """Return a matrix (rows, 2 + columns) of the same symbols, with two columns of 0 to the left of them."""
    return np.pad(matrix, ((0, 0), (2, 0)))
