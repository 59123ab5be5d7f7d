"""The weights that an ONNX file stores, and other ways to store them, from which the same layers get them.

The new nodes depend on nothing but stored tensors: runtimes compute them once, when they load the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx.version_converter
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from kdbench.errors import BadSetting, NotFinite

OPSET = 25  # the first with tensors of 2 bits; those of 4 bits came with 21
IR_VERSION = 13


@dataclass(frozen=True)
class StoredWeight:
    """A float tensor that a layer multiplies with: its name, its numbers, and the axis of the layer's outputs."""

    name: str
    values: np.ndarray
    outputs: int

    @property
    def by_output(self) -> np.ndarray:
        """The numbers as (outputs, inputs): one row for what each output adds up."""
        return np.moveaxis(self.values, self.outputs, 0).reshape(self.values.shape[self.outputs], -1)


@dataclass(frozen=True)
class Stored:
    """Tensors, and nodes that make a weight of them; the last one's output has its name."""

    tensors: Sequence[TensorProto]
    nodes: Sequence[NodeProto]


def stored_weights(file: ModelProto) -> list[StoredWeight]:
    """Return the weights of linear and convolutional layers, in the order in which they are applied."""
    floats = {tensor.name: tensor for tensor in file.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    found: dict[str, StoredWeight] = {}
    for node in file.graph.node:
        position, outputs = place_of_weight(node, floats)
        name = node.input[position] if position is not None else ""
        if name in floats and name not in found:
            found[name] = StoredWeight(name, numpy_helper.to_array(floats[name]), outputs)
    return list(found.values())


def place_of_weight(node: NodeProto, stored: Mapping[str, TensorProto]) -> tuple[int | None, int]:
    """Return which input of a node is its weight, and the axis of the outputs in it; None if it has none."""
    if node.op_type == "Conv":
        return 1, 0
    if node.op_type == "ConvTranspose":
        return 1, 1
    if node.op_type not in ("Gemm", "MatMul"):
        return None, 0
    right = node.input[1] in stored
    transposed = any(a.name == ("transB" if right else "transA") and a.i for a in node.attribute)
    return (1, int(not transposed)) if right else (0, int(transposed))


def in_float16(weight: StoredWeight, numbers: np.ndarray) -> np.ndarray:
    """Return numbers that stand for a weight, in float16. Raises `NotFinite` for what it does not reach: 65,504."""
    with np.errstate(over="ignore"):
        half = numbers.astype(np.float16)
    if not np.isfinite(half).all():
        raise NotFinite(
            f"{weight.name} has a weight of {np.abs(weight.values).max():g}, which float16 does not reach"
        )
    return half


def used_both_ways(file: ModelProto) -> list[str]:
    """Return the weights that one layer multiplies with and another with the transpose: no axis has all outputs.

    ONNX Runtime would take scales of outputs along the axis of the first, in the second as well.
    """
    stored = {tensor.name: tensor for tensor in file.graph.initializer}
    axes: dict[str, set[int]] = {}
    for node in file.graph.node:
        position, outputs = place_of_weight(node, stored)
        if position is not None:
            axes.setdefault(node.input[position], set()).add(outputs)
    return [name for name, found in axes.items() if name in stored and len(found) > 1]


def stored_otherwise(file: ModelProto, replaced: Mapping[str, Stored]) -> ModelProto:
    """Return a copy of `file` in which the tensors of these names are made of others.

    Raises `BadSetting` if there are none: what was quantized elsewhere has no weights in float32.
    """
    if not replaced:
        raise BadSetting("the file has no weights in float32 that could be stored in another form")
    changed = upgraded(file)
    graph = changed.graph
    kept = [tensor for tensor in graph.initializer if tensor.name not in replaced]
    nodes = [*graph.node]
    del graph.initializer[:], graph.node[:]
    for name in replaced:
        graph.initializer.extend(replaced[name].tensors)
        graph.node.extend(replaced[name].nodes)
    graph.initializer.extend(kept)
    graph.node.extend(nodes)
    return changed


def upgraded(file: ModelProto) -> ModelProto:
    """Return a copy in a version of ONNX that has tensors of 2 and 4 bits."""
    changed = onnx.version_converter.convert_version(file, OPSET) if opset_of(file) < OPSET else ModelProto()
    if opset_of(file) >= OPSET:
        changed.CopyFrom(file)
    changed.ir_version = max(changed.ir_version, IR_VERSION)
    return changed


def opset_of(file: ModelProto) -> int:
    """Return the version of ONNX's operators that a file is written in."""
    return max(opset.version for opset in file.opset_import if opset.domain in ("", "ai.onnx"))


def integers(weight: StoredWeight, rows: np.ndarray, scales: np.ndarray, data_type: int) -> Stored:
    """Return a weight as whole numbers times scales.

    `rows`: whole numbers (outputs, inputs), of the ONNX type `data_type`. `scales`: float16 (outputs, groups), of
    groups of inputs in a row.
    """
    name, groups = weight.name, scales.shape[1]
    whole, scale, real = f"{name}_integers", f"{name}_scale", f"{name}_real"
    nodes = [
        helper.make_node("Cast", [whole], [real], to=TensorProto.FLOAT),
        helper.make_node("Cast", [scale], [f"{scale}_real"], to=TensorProto.FLOAT),
    ]
    if groups == 1:
        layout = (1,) * weight.outputs + (-1,) + (1,) * (weight.values.ndim - weight.outputs - 1)
        nodes.append(helper.make_node("Mul", [real, f"{scale}_real"], [name]))
        scales = scales.reshape(layout)
        tensors = [
            tensor(whole, in_place(weight, rows), data_type),
            numpy_helper.from_array(scales, scale),
        ]
        return Stored(tensors, nodes)
    grouped = rows.reshape(len(rows), groups, -1)
    nodes.append(helper.make_node("Mul", [real, f"{scale}_real"], [f"{name}_groups"]))
    tensors = [tensor(whole, grouped, data_type), numpy_helper.from_array(scales[:, :, None], scale)]
    return with_shape(weight, f"{name}_groups", Stored(tensors, nodes))


def in_place(weight: StoredWeight, rows: np.ndarray) -> np.ndarray:
    """Return numbers given as rows (outputs, inputs) in the shape of the weight."""
    moved = np.moveaxis(weight.values, weight.outputs, 0)
    return np.moveaxis(rows.reshape(moved.shape), 0, weight.outputs)


def with_shape(weight: StoredWeight, made: str, stored: Stored) -> Stored:
    """Return `stored`, whose last output `made` holds rows in any shape, and what gives it that of the weight."""
    axes = [*range(1, weight.values.ndim)]
    axes.insert(weight.outputs, 0)
    moved = np.moveaxis(weight.values, weight.outputs, 0).shape
    shape = numpy_helper.from_array(np.array(moved, np.int64), f"{weight.name}_shape")
    last = weight.name if weight.outputs == 0 else f"{weight.name}_shaped"
    nodes = [*stored.nodes, helper.make_node("Reshape", [made, shape.name], [last])]
    if weight.outputs:
        nodes.append(helper.make_node("Transpose", [last], [weight.name], perm=axes))
    return Stored([*stored.tensors, shape], nodes)


def tensor(name: str, values: np.ndarray, data_type: int) -> TensorProto:
    """Return whole numbers as a tensor of a type that may have fewer than 8 bits."""
    return numpy_helper.from_array(values.astype(helper.tensor_dtype_to_np_dtype(data_type)), name)
