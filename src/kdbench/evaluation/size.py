"""What a file holds: bytes, zeros and multiply-adds, counted in the ONNX graph itself."""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterable

import numpy as np
import onnxruntime
from onnx import AttributeProto, ModelProto, TensorProto, ValueInfoProto, helper

from kdbench.evaluation.weights import layers

# Types of which a byte holds more than one; NumPy gives each number a byte of its own.
PACKED_BITS = {"INT4": 4, "UINT4": 4, "INT2": 2, "UINT2": 2, "FLOAT4E2M1": 4, "FLOAT6E2M3": 6, "FLOAT6E3M2": 6}


def weight_bytes(file: ModelProto) -> int:
    """Count the bytes of every tensor the file stores: weights, biases, quantization scales, constants."""
    constants = [attribute for node in file.graph.node if node.op_type == "Constant" for attribute in node.attribute]
    return sum(map(tensor_bytes, file.graph.initializer)) + sum(map(constant_bytes, constants))


def gzip_bytes(content: bytes) -> int:
    """Count the bytes of the file after gzip at its highest level: what a download costs."""
    return len(gzip.compress(content, compresslevel=9, mtime=0))


def zero_weights(file: ModelProto) -> int:
    """Count the weights that represent zero: stored as 0, or as the zero point of their quantization.

    Biases are not weights here. Raises `CannotCount` if the weights of a layer are not known.
    """
    # By its name: a weight that several layers share is stored once.
    return sum({layer.source: int((layer.weight == 0).sum()) for layer in layers(file)}.values())


def macs(file: ModelProto) -> int:
    """Count the multiply-adds for one image of every layer with weights; zeros count like any other weight.

    Raises `CannotCount` if the weights of a layer are not known.
    """
    found = layers(file)
    # Each number that a layer puts out adds up its inputs; in ConvTranspose each number put in goes to its outputs.
    ends = [layer.node.input[0] if layer.node.op_type == "ConvTranspose" else layer.node.output[0] for layer in found]
    shapes = shapes_for_one_image(file, ends)
    return sum(math.prod(shapes[end]) * layer.fan for end, layer in zip(ends, found, strict=True))


def shapes_for_one_image(file: ModelProto, names: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Return the shapes that the named results take as ONNX Runtime runs the file.

    Inferring them without running fails at operators of ONNX Runtime's own, such as QGemm and QLinearAdd.
    """
    stored = {tensor.name for tensor in file.graph.initializer}
    inputs = {value.name: one(value) for value in file.graph.input if value.name not in stored}
    probe = ModelProto()
    probe.CopyFrom(file)
    del probe.graph.output[:]
    asked = sorted(set(names) - inputs.keys()) or [file.graph.output[0].name]
    probe.graph.output.extend(ValueInfoProto(name=name) for name in asked)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = probe.SerializeToString()
    results = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"]).run(asked, inputs)
    return {name: value.shape for name, value in (inputs | dict(zip(asked, results, strict=True))).items()}


def one(value: ValueInfoProto) -> np.ndarray:
    """Return a single example, all zeros, for an input of the file."""
    kind = value.type.tensor_type
    shape = [1, *(dimension.dim_value for dimension in kind.shape.dim[1:])]
    return np.zeros(shape, helper.tensor_dtype_to_np_dtype(kind.elem_type))


def tensor_bytes(tensor: TensorProto) -> int:
    """Count the bytes of a tensor's numbers, those of sub-byte types as they are packed."""
    if tensor.data_type == TensorProto.STRING:
        return sum(map(len, tensor.string_data))
    packed = PACKED_BITS.get(TensorProto.DataType.Name(tensor.data_type))
    bits = packed or 8 * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return math.ceil(math.prod(tensor.dims) * bits / 8)


def constant_bytes(value: AttributeProto) -> int:
    """Count the bytes of a Constant node's value: a tensor, float32 or int64 numbers, or text."""
    tensor = tensor_bytes(value.t) if value.HasField("t") else 0
    floats = value.HasField("f") + len(value.floats)
    integers = value.HasField("i") + len(value.ints)
    return tensor + 4 * floats + 8 * integers + len(value.s) + sum(map(len, value.strings))
