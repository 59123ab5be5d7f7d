"""Weights in 16 bits."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import ModelProto, TensorProto, helper, numpy_helper

from kdbench.compress.quantize.stored_weights import Stored, in_float16, stored_otherwise, stored_weights
from kdbench.compress.step import FileStep, Task


@dataclass(frozen=True)
class Half(FileStep):
    """Store every weight as float16 (IEEE 754-2008, binary16), rounded to the nearest; layers compute in float32."""

    def __call__(self, file: ModelProto, task: Task) -> ModelProto:
        """Return the file. Raises `NotFinite` for a weight beyond 65,504, which float16 does not reach."""
        replaced = {}
        for weight in stored_weights(file):
            half = in_float16(weight, weight.values)
            name = f"{weight.name}_half"
            cast = helper.make_node("Cast", [name], [weight.name], to=TensorProto.FLOAT)
            replaced[weight.name] = Stored([numpy_helper.from_array(half, name)], [cast])
        return stored_otherwise(file, replaced)
