"""From a network that was trained on grids, as it is exported, to the whole numbers that ship."""

from __future__ import annotations

import numpy as np
from ml_dtypes import bfloat16, finfo
from onnx import ModelProto, NodeProto, TensorProto, helper

from kdbench.compress.quantize import fusions
from kdbench.compress.quantize.graph import WEIGHTED, Graph
from kdbench.compress.quantize.stored_weights import StoredWeight, integers, stored_otherwise, tensor, upgraded

NARROW = ((1, TensorProto.INT2), (7, TensorProto.INT4))  # the greatest number that a type holds, of either sign


def whole_numbers(file: ModelProto) -> ModelProto:
    """Return a file in which Q and DQ stand around layers, with weights and biases as whole numbers.

    Weights of at most 7 take 4 bits each, of at most 1 two, and are widened to 8 when the file is loaded. Where
    weights alone are on grids, they are stored as `WeightOnly` stores them. Without Q and DQ, as other networks are
    exported, it stays as it is.
    """
    stored = {tensor.name for tensor in file.graph.initializer}
    of_weights = [node.input[0] in stored for node in file.graph.node if node.op_type == "QuantizeLinear"]
    if not of_weights:
        return file
    if all(of_weights):
        return weights_multiplied_out(file)
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
    for to in quantizers_of_weights(graph):
        scale = np.maximum(graph.stored[to.input[1]].astype(bfloat16), finfo(bfloat16).tiny).astype(np.float32)
        whole, last = rounded(graph, to, scale)
        name, kind = f"{to.input[0]}_integers", narrowest(whole)
        if name not in graph.stored:  # a parameter that layers share has one grid, and is stored once
            graph.store(f"{name}_scale", scale)
            graph.keep(tensor(name, whole, kind))
        for back in graph.takers(last.output[0]):
            back.input[1] = f"{name}_scale"
            if kind == TensorProto.INT8:
                back.input[0] = name
        if kind != TensorProto.INT8:
            narrow = True
            graph.nodes.append(cast(name, last.output[0]))
        graph.remove(to, last)
    made = graph.file()
    return upgraded(made) if narrow else made


def weights_multiplied_out(file: ModelProto) -> ModelProto:
    """Return the file with whole numbers times float16 scales in the place of each Q and DQ of stored numbers."""
    graph, replaced = Graph(file), {}
    for to in quantizers_of_weights(graph):
        scale = np.maximum(graph.stored[to.input[1]].astype(np.float16), np.finfo(np.float16).tiny)
        whole, last = rounded(graph, to, scale.astype(np.float32))
        weight = StoredWeight(to.input[0], whole, outputs=0)
        replaced[weight.name] = integers(weight, weight.by_output, scale[:, None], narrowest(whole))
        for back in graph.takers(last.output[0]):
            for taker in graph.takers(back.output[0]):
                taker.input[:] = [weight.name if name == back.output[0] else name for name in taker.input]
            graph.remove(back)
        graph.remove(to, last)
    return stored_otherwise(graph.file(), replaced)


def quantizers_of_weights(graph: Graph) -> list[NodeProto]:
    """Return each Q of stored numbers."""
    return [node for node in graph.nodes if node.op_type == "QuantizeLinear" and node.input[0] in graph.stored]


def rounded(graph: Graph, to: NodeProto, scale: np.ndarray) -> tuple[np.ndarray, NodeProto]:
    """Return the stored numbers over their scales as a Q rounds them, and the last node of that: it, or its Clip."""
    values = graph.stored[to.input[0]]
    axis = next((attribute.i for attribute in to.attribute if attribute.name == "axis"), 1)
    whole = np.rint(values * along(1 / scale, axis, values.ndim))  # as `Rounded` computes it, to the last bit
    clip = graph.only_taker(to.output[0])
    if clip is None or clip.op_type != "Clip":
        return whole.astype(np.int8), to
    return np.clip(whole, graph.numbers(clip, 1), graph.numbers(clip, 2)).astype(np.int8), clip


def narrowest(whole: np.ndarray) -> int:
    """Return the type of ONNX with the fewest bits that holds these whole numbers."""
    return next((kind for most, kind in NARROW if np.abs(whole).max(initial=0) <= most), TensorProto.INT8)


def cast(given: str, made: str) -> NodeProto:
    """Return what widens stored numbers to 8 bits."""
    return helper.make_node("Cast", [given], [made], to=TensorProto.INT8)


def along(scale: np.ndarray, axis: int, dimensions: int) -> np.ndarray:
    """Return scales in a shape that goes with an array of so many dimensions."""
    return scale.reshape([-1 if place == axis else 1 for place in range(dimensions)]) if scale.ndim else scale


def biases_as_integers(file: ModelProto) -> ModelProto:
    """Return the file with the stored biases of layers in int32, by the product of both scales, as they add up.

    The product is computed when the file is loaded: stored, it would take as many bytes as the biases. Those of a
    layer stay float where one would not fit, as beside weights that are all 0, whose scale is next to none.
    """
    graph = Graph(file)
    names: dict[tuple[str, ...], str] = {}  # by bias and scales: a layer that is used twice has two grids before it
    for node in list(graph.nodes):
        if node.op_type not in WEIGHTED or len(node.input) < 3 or node.input[2] not in graph.stored:
            continue
        grids = [graph.maker(name) for name in node.input[:2]]
        if any(grid is None or grid.op_type != "DequantizeLinear" for grid in grids):
            continue
        key = (node.input[2], *(grid.input[1] for grid in grids if grid is not None))
        if key in names:
            node.input[2] = names[key]
            continue
        scale = np.float32(1)
        for grid in grids:
            scale = scale * graph.stored[grid.input[1]]
        real = graph.stored[node.input[2]].astype(np.float64)
        whole = np.rint(np.broadcast_to(real, np.broadcast_shapes(scale.shape, real.shape)) / scale)
        if np.abs(whole).max(initial=0) >= 2**31:
            continue
        again = sum(bias == node.input[2] for bias, *_ in names)
        name = node.input[2] + (f"_{again}" if again else "")
        graph.store(f"{name}_integers", whole.astype(np.int32))
        graph.nodes.append(helper.make_node("Mul", key[1:], [f"{name}_scale"]))
        axis = {"axis": 0} if scale.ndim else {}
        back = helper.make_node("DequantizeLinear", [f"{name}_integers", f"{name}_scale"], [f"{name}_real"], **axis)
        graph.nodes.append(back)
        names[key] = node.input[2] = f"{name}_real"
    return graph.file()
