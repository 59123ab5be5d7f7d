"""From a network that was trained on grids, as it is exported, to the whole numbers that ship."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from kdbench.compress.quantize import fusions
from kdbench.compress.quantize.graph import WEIGHTED, Graph
from kdbench.compress.quantize.stored_weights import tensor, upgraded

NARROW = ((1, TensorProto.INT2), (7, TensorProto.INT4))  # the greatest number that a type holds, of either sign


def whole_numbers(file: ModelProto) -> ModelProto:
    """Return a file in which Q and DQ stand around layers, with weights and biases as whole numbers.

    Weights of at most 7 take 4 bits each, of at most 1 two, and are widened to 8 when the file is loaded. Without Q
    and DQ, as other networks are exported, it stays as it is.
    """
    if not any(node.op_type == "QuantizeLinear" for node in file.graph.node):
        return file
    for rewrite in (
        fusions.relu_before_pooling,
        fusions.grid_around_pooling,
        fusions.grid_after_moves,
        weights_as_integers,
        fusions.pixels_as_bytes,
        biases_as_integers,
        fusions.padding_in_integers,
    ):
        file = rewrite(file)
    return file


def weights_as_integers(file: ModelProto) -> ModelProto:
    """Return the file with the result of each Q of stored numbers in the place of these."""
    graph, narrow = Graph(file), False
    for to in [node for node in graph.nodes if node.op_type == "QuantizeLinear" and node.input[0] in graph.stored]:
        values, scale = graph.stored[to.input[0]], graph.stored[to.input[1]]
        axis = next((attribute.i for attribute in to.attribute if attribute.name == "axis"), 1)
        whole = np.rint(values / along(scale, axis, values.ndim)).astype(np.int8)
        kind = next((kind for most, kind in NARROW if np.abs(whole).max(initial=0) <= most), TensorProto.INT8)
        name = f"{to.input[0]}_integers"
        if kind == TensorProto.INT8:
            graph.store(name, whole)
            graph.remove(to)
            for back in graph.takers(to.output[0]):
                back.input[0] = name
        else:
            narrow = True
            graph.keep(tensor(name, whole, kind))
            graph.nodes = [node if node is not to else cast(name, to.output[0]) for node in graph.nodes]
    made = graph.file()
    return upgraded(made) if narrow else made


def cast(given: str, made: str) -> NodeProto:
    """Return what widens stored numbers to 8 bits."""
    return helper.make_node("Cast", [given], [made], to=TensorProto.INT8)


def along(scale: np.ndarray, axis: int, dimensions: int) -> np.ndarray:
    """Return scales in a shape that goes with an array of so many dimensions."""
    return scale.reshape([-1 if place == axis else 1 for place in range(dimensions)]) if scale.ndim else scale


def biases_as_integers(file: ModelProto) -> ModelProto:
    """Return the file with the stored biases of layers in int32, by the product of both scales, as they add up."""
    graph = Graph(file)
    for node in list(graph.nodes):
        if node.op_type not in WEIGHTED or len(node.input) < 3 or node.input[2] not in graph.stored:
            continue
        grids = [graph.maker(name) for name in node.input[:2]]
        if any(grid is None or grid.op_type != "DequantizeLinear" for grid in grids):
            continue
        scale = np.float32(1)
        for grid in grids:
            scale = scale * graph.stored[grid.input[1]]
        bias = np.broadcast_to(
            graph.stored[node.input[2]], np.broadcast_shapes(scale.shape, graph.stored[node.input[2]].shape)
        )
        whole = np.clip(np.rint(bias.astype(np.float64) / scale), -(2**31) + 1, 2**31 - 1).astype(np.int32)
        name = node.input[2]
        graph.store(f"{name}_integers", whole)
        graph.store(f"{name}_scale", np.asarray(scale, np.float32))
        axis = {"axis": 0} if scale.ndim else {}
        back = helper.make_node("DequantizeLinear", [f"{name}_integers", f"{name}_scale"], [f"{name}_real"], **axis)
        graph.nodes.append(back)
        node.input[2] = f"{name}_real"
    return graph.file()
