"""The layers of an ONNX file that apply stored weights, in whatever form the file stores them.

As numbers, as the integers of ConvInteger, QLinearConv and their kin, or behind DequantizeLinear.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from kdbench.errors import CannotCount
from kdbench.models.onnx_graph import layer_name

# Operators with weights: the inputs that may hold them, and for each the input that holds its zero point.
WEIGHT_INPUTS: dict[str, dict[int, int | None]] = {
    "Conv": {1: None},
    "ConvTranspose": {1: None},
    "Gemm": {1: None, 0: None},
    "MatMul": {1: None, 0: None},
    "ConvInteger": {1: 3},
    "MatMulInteger": {1: 3, 0: 2},
    "QLinearConv": {3: 5},
    "QLinearMatMul": {3: 5, 0: 2},
    "com.microsoft.QGemm": {3: 5, 0: 2},
}
# Operators that may apply weights as well. Every other operator that is not ONNX's own is treated like these.
NOT_COUNTED = {"Einsum", "RNN", "GRU", "LSTM", "DeformConv"}
# What may stand between a stored tensor and its layer. These change layout and number format, never how many numbers
# there are (Mul and Gather where they scale, or look up in a codebook: see `is_carried`). Others could also unfold a
# small file into more memory than there is.
CARRIERS = {
    *("Constant", "Identity", "Cast", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Mul", "Gather"),
    *("QuantizeLinear", "DequantizeLinear", "com.microsoft.QuantizeLinear", "com.microsoft.DequantizeLinear"),
}
RENAMED = re.compile("_(quantized|integers)$")  # the name of a weight that is stored as whole numbers


@dataclass(frozen=True)
class Constant:
    """Numbers that do not depend on the images, and the name of the tensor in the file they come from."""

    source: str
    values: np.ndarray


@dataclass(frozen=True)
class Layer:
    """A node that applies stored weights.

    `weight` is 0 exactly where the stored number represents zero. Its last axis are the outputs (the inputs in
    ConvTranspose): (inputs, outputs) in linear layers, (channels, height, width, outputs) in convolutions.
    `source` is the name of the tensor in the file that holds it.
    """

    node: NodeProto
    source: str
    weight: np.ndarray

    @property
    def fan(self) -> int:
        """How many weights one output adds up (in ConvTranspose: how many one input is multiplied with)."""
        shape = self.weight.shape
        return math.prod(shape[:-1]) if "Conv" in self.node.op_type else shape[-2:][0]


def layers(file: ModelProto) -> list[Layer]:
    """Return the layers with stored weights, in the order in which they are computed.

    Products of activations are none. Raises `CannotCount` if a weight is made from stored tensors in another
    way than by a change of layout or number format, or applied by an operator that kdbench does not know.
    """
    constants = {
        tensor.name: Constant(tensor.name, numpy_helper.to_array(tensor)) for tensor in file.graph.initializer
    }
    computed = {value.name for value in file.graph.input} - constants.keys()
    found = []
    for node in file.graph.node:
        operator = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
        if operator in WEIGHT_INPUTS:
            layer = applied(node, WEIGHT_INPUTS[operator], constants, computed)
            found += [layer] if layer else []
        elif operator in NOT_COUNTED or (operator != node.op_type and operator not in CARRIERS):
            refuse_weights(node, constants)
        if computed.intersection(node.input):
            computed.update(node.output)
        elif operator in CARRIERS and all(name in constants for name in node.input if name):
            given = [constants[name] for name in node.input if name]
            if is_carried(operator, [one.values for one in given]):
                # Of numbers and their scales, or a codebook and what is looked up in it, the numbers are the weights.
                source = max(given, key=lambda one: one.values.size).source if given else node.output[0]
                constants[node.output[0]] = Constant(source, evaluate(node, constants))
    return found


def one_scale_layers(file: ModelProto) -> list[str]:
    """Return the layers of several outputs whose stored whole numbers all have one scale.

    By the names of `float_layers`: what quantizers add to the name of a weight is left out.
    """
    stored = {tensor.name: math.prod(tensor.dims) for tensor in file.graph.initializer}
    scales = {
        node.input[0]: stored.get(node.input[1], 1) for node in file.graph.node if node.op_type == "DequantizeLinear"
    }
    found = [one.source for one in layers(file) if scales.get(one.source) == 1 and one.weight.shape[-1] > 1]
    return [layer_name(RENAMED.sub("", source)) for source in dict.fromkeys(found)]


def float_layers(file: ModelProto) -> list[str]:
    """Return the layers whose weights are stored as float32, by what `kdbench ls --layers` calls them.

    None where all or none are. Raises `CannotCount` if the weights of a layer are not known.
    """
    kinds = {tensor.name: tensor.data_type for tensor in file.graph.initializer}
    sources = list(dict.fromkeys(layer.source for layer in layers(file)))
    found = [source for source in sources if kinds.get(source) == TensorProto.FLOAT]
    return [] if len(found) == len(sources) else list(map(layer_name, found))


def is_carried(operator: str, given: Sequence[np.ndarray]) -> bool:
    """Whether an operator in `CARRIERS` makes as many numbers as the largest of what it is given."""
    if operator == "Mul":
        return math.prod(np.broadcast_shapes(*(values.shape for values in given))) == max(v.size for v in given)
    return operator != "Gather" or given[0].ndim == 1


def applied(
    node: NodeProto, inputs: dict[int, int | None], constants: dict[str, Constant], computed: set[str]
) -> Layer | None:
    """Return the layer that `node` is, or None if all it multiplies is computed from the images."""
    for weight, zero_point in inputs.items():
        constant = constants.get(node.input[weight])
        if constant is None:
            continue
        values = outputs_last(node, weight, constant.values)
        if zero_point is not None and len(node.input) > zero_point and node.input[zero_point]:
            if node.input[zero_point] not in constants:
                raise CannotCount(f"the zero point {node.input[zero_point]!r} of {describe(node)} is not stored")
            zero = outputs_last(node, weight, constants[node.input[zero_point]].values)
            values = values.astype(np.int32) - zero.astype(np.int32)
        return Layer(node, constant.source, values)
    unknown = [node.input[weight] for weight in inputs if node.input[weight] not in computed]
    if unknown:
        raise CannotCount(
            f"{describe(node)} has a weight {unknown[0]!r} that the file computes from stored tensors: "
            "fold it into one stored tensor before the export"
        )
    return None


def outputs_last(node: NodeProto, position: int, values: np.ndarray) -> np.ndarray:
    """Return a weight, or its zero point, with the axis of the layer's outputs last, where NumPy broadcasts."""
    if values.ndim < 2:
        return values
    if "Conv" in node.op_type:
        return np.moveaxis(values, 0, -1)
    left = position == 0
    transposed = any(a.name == ("transA" if left else "transB") and a.i for a in node.attribute)
    return np.swapaxes(values, -1, -2) if transposed != left else values


def evaluate(node: NodeProto, constants: dict[str, Constant]) -> np.ndarray:
    """Return what a carrier makes of its constant inputs, by ONNX's own definition of the operator."""
    plain = NodeProto()
    plain.CopyFrom(node)
    plain.domain = ""  # ONNX Runtime's QuantizeLinear and DequantizeLinear are those of later versions of ONNX
    return ReferenceEvaluator(plain).run(None, {name: constants[name].values for name in node.input if name})[0]


def refuse_weights(node: NodeProto, constants: dict[str, Constant]) -> None:
    """Raise `CannotCount` if an operator that may have weights is given a stored matrix."""
    for name in node.input:
        if name in constants and constants[name].values.ndim > 1:
            raise CannotCount(
                f"{describe(node)} applies the weight {name!r}, and kdbench cannot count that operator's weights: "
                "write the layer with Conv, Gemm or MatMul"
            )


def describe(node: NodeProto) -> str:
    """Return operator and name of a node, for messages; its output names it if nothing else does."""
    return f"{node.op_type} {node.name or node.output[0]!r}"
