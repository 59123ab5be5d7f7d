"""Weights that share a few values: a codebook a layer, and which of its values each weight has (Han et al. 2016)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from kdbench.compress.quantize.stored_weights import (
    Stored,
    StoredWeight,
    in_float16,
    stored_otherwise,
    stored_weights,
    tensor,
)
from kdbench.compress.step import FileStep, Task
from kdbench.settings import checks

ROUNDS = 50  # of k-means


@dataclass(frozen=True)
class Clusters(FileStep):
    """Store for each weight the number of its cluster, in 8, 4 or 2 bits, and the centre of each cluster in float16.

    K-means over the weights of a layer, from centres spread evenly between the least and the largest (Han et al.
    2016, Deep Compression, sections 3.1 and 3.2, who then train the centres; here they stay the means). Weights that
    were pruned are a cluster of their own, so that zeros stay zeros.
    """

    clusters: int  # of a layer, zeros among them; from 2 to 256

    def __post_init__(self) -> None:
        checks.whole("compress.clusters", self.clusters, 2, 256)

    def __call__(self, file: ModelProto, task: Task) -> ModelProto:
        """Return the file. Raises `NotFinite` for a weight beyond 65,504, which float16 does not reach."""
        return stored_otherwise(file, {weight.name: self.stored(weight) for weight in stored_weights(file)})

    def stored(self, weight: StoredWeight) -> Stored:
        """Return a weight as a codebook, and numbers of its entries."""
        in_float16(weight, weight.values)  # so that it reaches their centres
        codebook, which = clustered(weight.values, self.clusters)
        bits = next(bits for bits in (2, 4, 8) if len(codebook) <= 2**bits)
        kind = {2: TensorProto.UINT2, 4: TensorProto.UINT4, 8: TensorProto.UINT8}[bits]
        numbers, centres, index = (f"{weight.name}_{what}" for what in ("clusters", "centres", "index"))
        nodes = [
            helper.make_node("Cast", [numbers], [index], to=TensorProto.INT32),
            helper.make_node("Cast", [centres], [f"{centres}_real"], to=TensorProto.FLOAT),
            helper.make_node("Gather", [f"{centres}_real", index], [weight.name]),
        ]
        return Stored([tensor(numbers, which, kind), numpy_helper.from_array(codebook, centres)], nodes)


def clustered(values: np.ndarray, clusters: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the codebook, float16 (at most `clusters`,), and the entry of each of `values`, uint8 of their shape."""
    there = values[values != 0].astype(np.float64)
    zeros = values.size - there.size
    centres = np.zeros(0)
    if there.size:
        centres = means(there, np.linspace(there.min(), there.max(), clusters - (zeros > 0)))
    codebook = np.unique(np.concatenate([centres, [0.0] * (zeros > 0)]).astype(np.float16))
    real = codebook.astype(np.float64)
    which = np.searchsorted((real[1:] + real[:-1]) / 2, values.astype(np.float64))
    if zeros:
        zero, others = int(np.flatnonzero(real == 0)[0]), real[real != 0]
        if len(others):  # what was not pruned is not in the cluster of what was
            beside = np.searchsorted((others[1:] + others[:-1]) / 2, values.astype(np.float64))
            which = np.flatnonzero(real != 0)[beside]
        which = np.where(values == 0, zero, which)
    used, which = np.unique(which, return_inverse=True)  # centres that nothing is near take bytes for nothing
    return codebook[used], which.reshape(values.shape).astype(np.uint8)


def means(values: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return the centres to which k-means (Lloyd 1982) comes from these; a centre that nothing is near stays."""
    for _ in range(ROUNDS):
        nearest = np.searchsorted((centres[1:] + centres[:-1]) / 2, values)
        counts = np.bincount(nearest, minlength=len(centres))
        sums = np.bincount(nearest, weights=values, minlength=len(centres))
        moved = np.where(counts > 0, sums / np.maximum(counts, 1), centres)
        if np.array_equal(moved, centres):
            break
        centres = np.sort(moved)
    return centres
