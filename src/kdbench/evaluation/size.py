"""What a file holds: bytes, zeros and multiply-adds, counted in the ONNX graph itself."""

from __future__ import annotations

import gzip
import math

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, numpy_helper

# Operators with weights, and where among their inputs the weight stands; the zero point of a quantized weight
# is their fourth input.
WEIGHT_INPUT = {"Conv": 1, "Gemm": 1, "MatMul": 1, "ConvInteger": 1, "MatMulInteger": 1}
WEIGHT_ZERO_POINT = 3


def weight_bytes(file: ModelProto) -> int:
    """Count the bytes of every tensor the file stores: weights, biases, quantization scales, constants."""
    return sum(numpy_helper.to_array(tensor).nbytes for tensor in file.graph.initializer)


def gzip_bytes(content: bytes) -> int:
    """Count the bytes of the file after gzip at its highest level: what a download costs."""
    return len(gzip.compress(content, compresslevel=9, mtime=0))


def zero_weights(file: ModelProto) -> int:
    """Count the weights that are zero: stored as 0, or, in an int8 layer, as the layer's zero point."""
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in file.graph.initializer}
    zeros = {}
    for node in weighted(file):
        weight = arrays[node.input[WEIGHT_INPUT[node.op_type]]]
        zero: np.ndarray | int = 0
        if node.op_type.endswith("Integer") and len(node.input) > WEIGHT_ZERO_POINT:
            zero = arrays[node.input[WEIGHT_ZERO_POINT]]
            if zero.ndim and node.op_type == "ConvInteger":
                zero = zero.reshape(-1, *[1] * (weight.ndim - 1))
        # By its name: a weight that several layers share is stored once.
        zeros[node.input[WEIGHT_INPUT[node.op_type]]] = int((weight == zero).sum())
    return sum(zeros.values())


def macs(file: ModelProto) -> int:
    """Count the multiply-adds for one image of every layer with weights; zeros count like any other weight."""
    inferred = onnx.shape_inference.infer_shapes(file)
    known = [*inferred.graph.value_info, *inferred.graph.output]
    shapes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in known}
    weights = {tensor.name: list(tensor.dims) for tensor in file.graph.initializer}
    total = 0
    for node in weighted(file):
        weight = weights[node.input[WEIGHT_INPUT[node.op_type]]]
        positions = 1
        if node.op_type.startswith("Conv"):
            # Each position of the output image applies the whole kernel once.
            positions = math.prod(shapes[node.output[0]][2:])
        total += positions * math.prod(weight)
    return total


def weighted(file: ModelProto) -> list[NodeProto]:
    """Return the nodes that apply stored weights."""
    stored = {tensor.name for tensor in file.graph.initializer}
    return [
        node
        for node in file.graph.node
        if node.op_type in WEIGHT_INPUT and node.input[WEIGHT_INPUT[node.op_type]] in stored
    ]
