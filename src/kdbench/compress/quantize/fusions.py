"""Rewrites of a graph after which ONNX Runtime does more of it in whole numbers.

Each is exact, but for what is said of `pixels_as_bytes` and `float_results`. Q and DQ stand for QuantizeLinear and
DequantizeLinear.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import ModelProto, NodeProto, helper

from kdbench.compress.quantize.graph import Graph

BYTES = 255  # steps from the darkest to the lightest pixel
SHAPES = ("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze")  # which change no number


def relu_before_pooling(file: ModelProto) -> ModelProto:
    """Return the file with MaxPool after Relu, wherever it stood before it: the greatest of both is the same.

    ONNX Runtime computes Conv, Relu and Q in one step, and its quantizer drops a Relu that follows a MaxPool, whose
    output it takes to be at least 0: then 57% of the images came out in another class (cnn_deep, version 1.32).
    """
    graph = Graph(file)
    for relu in graph.nodes:
        pool = graph.maker(relu.input[0]) if relu.op_type == "Relu" else None
        if pool is None or pool.op_type != "MaxPool" or len(pool.output) > 1 or not graph.only_taker(pool.output[0]):
            continue
        given, pooled, result = pool.input[0], pool.output[0], relu.output[0]
        relu.input[0], relu.output[0] = given, pooled
        pool.input[0], pool.output[0] = pooled, result
    return graph.file()


def grid_around_pooling(file: ModelProto) -> ModelProto:
    """Return the file in which what MaxPool is given is on the grid that its result was put on: they commute."""
    graph = Graph(file)
    for pool in [node for node in graph.nodes if node.op_type == "MaxPool" and len(node.output) == 1]:
        to = graph.only_taker(pool.output[0])
        if to is None or to.op_type != "QuantizeLinear":
            continue
        pool.input[0] = on_grid(graph, pool.input[0], to.input[1:], f"{pool.output[0]}_before")
    return graph.file()


def grid_after_moves(file: ModelProto) -> ModelProto:
    """Return the file in which what only moves numbers of a grid (or adds zeros) gives them on that grid again."""
    graph = Graph(file)
    for node in list(graph.nodes):  # in their order: one may follow another
        back = graph.maker(node.input[0]) if node.op_type in (*SHAPES, "MaxPool", "Pad") else None
        takers = graph.takers(node.output[0])
        if back is None or back.op_type != "DequantizeLinear" or not takers or len(node.output) > 1:
            continue
        if all(taker.op_type == "QuantizeLinear" for taker in takers):
            continue
        if node.op_type == "Pad" and not pads_with_zeros(graph, node):
            continue
        made = node.output[0]
        after = on_grid(graph, made, back.input[1:], f"{made}_after")
        for taker in takers:
            taker.input[:] = [after if name == made else name for name in taker.input]
    return graph.file()


def on_grid(graph: Graph, given: str, grid: Sequence[str], name: str) -> str:
    """Put a tensor through Q and DQ, and return the name of what comes out."""
    graph.nodes += [
        helper.make_node("QuantizeLinear", [given, *grid], [f"{name}_whole"]),
        helper.make_node("DequantizeLinear", [f"{name}_whole", *grid], [name]),
    ]
    return name


def float_results(file: ModelProto) -> ModelProto:
    """Return the file without Q and DQ after the last layers: logits are not rounded to 256 values."""
    graph = Graph(file)
    before = {id(node) for node in graph.leads_to_weights()}
    for back in [node for node in graph.nodes if node.op_type == "DequantizeLinear" and id(node) not in before]:
        to = graph.maker(back.input[0])
        source = graph.maker(to.input[0]) if to is not None and to.op_type == "QuantizeLinear" else None
        if to is None or source is None or graph.only_taker(to.input[0]) is None:
            continue
        source.output[0] = back.output[0]
        graph.remove(to, back)
    return graph.file()


def pixels_as_bytes(file: ModelProto) -> ModelProto:
    """Return the file that takes the images as whole 255ths, if they are normalised by one mean and one deviation.

    `(x - mean) / deviation`, rounded, is `scale (round(255 x) - zero)` with `scale = 1 / (255 deviation)` and
    `zero = 255 mean`, rounded too: so that pixels are not rounded at all, and all of them are off by the same, at
    most half a 255th.
    """
    graph = Graph(file)
    sub = graph.only_taker(graph.input)
    div = graph.only_taker(sub.output[0]) if sub is not None and sub.op_type == "Sub" else None
    first = to = graph.only_taker(div.output[0]) if div is not None and div.op_type == "Div" else None
    while to is not None and to.op_type in SHAPES:
        to = graph.only_taker(to.output[0])
    if sub is None or div is None or first is None or to is None or to.op_type != "QuantizeLinear":
        return file
    mean, deviation = graph.numbers(sub, 1), graph.numbers(div, 1)
    if mean is None or deviation is None or np.ptp(mean) or np.ptp(deviation) or not 0 <= mean.flat[0] <= 1:
        return file
    graph.remove(sub, div)
    first.input[0] = graph.input
    to.input[1] = graph.store("pixel_scale", np.float32(1 / BYTES))
    to.input[2] = graph.store("pixel_zero", np.uint8(0))
    scale = graph.store("image_scale", np.float32(1 / (BYTES * deviation.flat[0])))
    zero = graph.store("image_zero", np.uint8(round(BYTES * float(mean.flat[0]))))
    for back in graph.takers(to.output[0]):
        back.input[1], back.input[2] = scale, zero
    return graph.file()


def padding_in_integers(file: ModelProto) -> ModelProto:
    """Return the file that pads whole numbers with their zero, in the place of DQ, Pad with 0.0, and Q."""
    graph = Graph(file)
    for pad in [node for node in graph.nodes if node.op_type == "Pad"]:
        back, to = graph.maker(pad.input[0]), graph.only_taker(pad.output[0])
        if back is None or to is None or not pads_with_zeros(graph, pad) or not same_grid(graph, back, to):
            continue
        pad.input[:] = [back.input[0], pad.input[1], back.input[2], *pad.input[3:]]
        pad.output[0] = to.output[0]
        graph.remove(to, *([] if graph.takers(back.output[0]) else [back]))
    return graph.file()


def pads_with_zeros(graph: Graph, pad: NodeProto) -> bool:
    """Whether a Pad fills up with 0."""
    constant = all(attribute.s == b"constant" for attribute in pad.attribute if attribute.name == "mode")
    return constant and (len(pad.input) < 3 or not pad.input[2] or not np.any(graph.numbers(pad, 2)))


def same_grid(graph: Graph, back: NodeProto, to: NodeProto) -> bool:
    """Whether they are DQ and Q, by the same scale and zero."""
    if (back.op_type, to.op_type) != ("DequantizeLinear", "QuantizeLinear"):
        return False
    grids = [(graph.numbers(node, 1), graph.numbers(node, 2)) for node in (back, to)]
    return all(np.array_equal(left, right) for left, right in zip(*grids, strict=True) if left is not None)
