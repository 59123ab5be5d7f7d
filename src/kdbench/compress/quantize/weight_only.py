"""Weights of few bits, under layers that compute in float32."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, TensorProto

from kdbench.compress.quantize.stored_weights import in_float16, integers, stored_otherwise, stored_weights
from kdbench.compress.step import FileStep, Task
from kdbench.errors import BadSetting
from kdbench.settings import checks

TYPES = {8: TensorProto.INT8, 4: TensorProto.INT4, 3: TensorProto.INT4, 2: TensorProto.INT2}
SHRUNK = np.linspace(1.0, 0.3, 29)  # of the largest scale: those that are tried


@dataclass(frozen=True)
class WeightOnly(FileStep):
    """Store weights as whole numbers of `bits`, and a scale for every `group` of inputs of an output.

    `w ≈ scale * q`, `q` in [-(2^(bits-1) - 1), 2^(bits-1) - 1], so that 0 stays 0. The scale is the one of `SHRUNK`
    times the largest `|w| / max(q)` that makes the sum of squared differences least (as Banner et al. 2019,
    Post-training 4-bit Quantization, section 3, clip to that end; by search here, and not by a formula for a
    distribution). Scales are float16, and not below its smallest normal number, 6.1e-5: of 8 bits, an output whose
    greatest weight is below 0.0078 has fewer steps than it might. Numbers of 3 bits are stored in 4.
    """

    bits: int  # 8, 4, 3 or 2
    group: int | None  # inputs that share a scale; None: all of an output, as where `group` does not divide them

    def __post_init__(self) -> None:
        checks.whole("compress.bits", self.bits, 2, 8)
        if self.bits not in TYPES:
            raise BadSetting(f"compress.bits={self.bits} is not offered: choose from {', '.join(map(str, TYPES))}")
        if self.group is not None:
            checks.whole("compress.group", self.group, 2)

    def __call__(self, file: ModelProto, task: Task) -> ModelProto:
        """Return the file. Raises `NotFinite` for a weight so great that no float16 is its scale."""
        replaced = {}
        for weight in stored_weights(file):
            rows = weight.by_output
            size = self.group if self.group and rows.shape[1] % self.group == 0 else rows.shape[1]
            whole, scales = quantized(rows.reshape(len(rows), -1, size), self.bits)
            replaced[weight.name] = integers(
                weight, whole.reshape(rows.shape), in_float16(weight, scales), TYPES[self.bits]
            )
        return stored_otherwise(file, replaced)


def quantized(groups: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Return whole numbers shaped like `groups` (outputs, groups, inputs), and scales float16 (outputs, groups).

    A scale is infinite where float16 holds none that is great enough.
    """
    largest = 2 ** (bits - 1) - 1
    widest = np.abs(groups).max(2) / largest
    best = np.full(widest.shape, np.inf)
    whole, scales = np.zeros(groups.shape, np.int8), np.full(widest.shape, np.inf, np.float16)
    for share in SHRUNK:
        with np.errstate(over="ignore"):
            scale = np.maximum((widest * share).astype(np.float16), np.finfo(np.float16).tiny)
        with np.errstate(invalid="ignore"):  # of an infinite scale the error is none, and never the least
            tried = np.clip(np.rint(groups / scale[:, :, None].astype(np.float32)), -largest, largest)
            error = ((tried * scale[:, :, None].astype(np.float32) - groups) ** 2).sum(2)
        better = error < best
        best = np.where(better, error, best)
        scales = np.where(better, scale, scales)
        whole = np.where(better[:, :, None], tried.astype(np.int8), whole)
    return whole, scales
