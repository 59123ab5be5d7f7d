"""ONNX files as other tools write them: one linear layer over an image, in several forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

SHAPE, CLASSES = (3, 8, 8), 4


def weights(seed: int = 0, numbers: int = 192, classes: int = CLASSES) -> np.ndarray:
    """The matrix (numbers, classes) of the layer."""
    return np.random.default_rng(seed).normal(size=(numbers, classes)).astype(np.float32)


def linear(
    sizes: tuple[int | str, ...] = SHAPE,
    order: tuple[int, ...] | None = None,
    batch: int | str = "n",
    end: str | None = None,
    matrix: np.ndarray | None = None,
    kind: int = TensorProto.FLOAT,
    opset: int = 17,
) -> ModelProto:
    """A file that takes images of `sizes` (in `order` they are channels first) and ends in the operator `end`."""
    matrix = weights() if matrix is None else matrix
    nodes, now = [], "x"
    if order is not None:
        nodes.append(helper.make_node("Transpose", [now], ["first"], perm=list(order)))
        now = "first"
    nodes += [helper.make_node("Flatten", [now], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["sums"])]
    now = "sums"
    if end is not None:
        nodes.append(helper.make_node(end, [now], ["ended"]))
        now = "ended"
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", kind, [batch, *sizes])],
        [helper.make_tensor_value_info(now, TensorProto.FLOAT, [batch, matrix.shape[1]])],
        [numpy_helper.from_array(matrix, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def write(path: Path, file: ModelProto) -> Path:
    """Write `file` to `path`."""
    onnx.save(file, path)
    return path
