"""The file of a network that was given as one: normalisation in front, if it has any, and otherwise as it stands."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, helper, numpy_helper

from kdbench.models.network import Network
from kdbench.models.onnx_file import OnnxFile
from kdbench.models.onnx_graph import INPUT


def normalised(network: Network, model: OnnxFile) -> ModelProto:
    """Return the ONNX file of `model`, which takes images in [0, 1] as `network` does."""
    file = model.graph
    mean, deviation = (tensor.numpy().astype(np.float32) for tensor in (network[0].mean, network[0].deviation))
    if not mean.any() and (deviation == 1).all():
        return file
    graph = file.graph
    for node in graph.node:
        node.input[:] = [f"{INPUT}_normalised" if name == INPUT else name for name in node.input]
    front = [
        helper.make_node("Sub", [INPUT, f"{INPUT}_mean"], [f"{INPUT}_centred"]),
        helper.make_node("Div", [f"{INPUT}_centred", f"{INPUT}_deviation"], [f"{INPUT}_normalised"]),
    ]
    for node in reversed(front):
        graph.node.insert(0, node)
    graph.initializer.append(numpy_helper.from_array(mean, f"{INPUT}_mean"))
    graph.initializer.append(numpy_helper.from_array(deviation, f"{INPUT}_deviation"))
    return file
