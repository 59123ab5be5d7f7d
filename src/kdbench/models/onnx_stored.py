"""Numbers of an ONNX file where kdbench looks for weights: stored beside the nodes, as float32."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, numpy_helper

EXACT = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)  # all of whose numbers float32 holds


def store_numbers(graph: GraphProto) -> bool:
    """Store, in place, the tensors of Constant nodes, and in float32 what is stored in 16 bits and cast to it.

    The graph computes the very same. Returns whether there were any.
    """
    stored = {tensor.name: tensor for tensor in graph.initializer}
    cast = set()
    before = len(graph.node)
    for node in list(graph.node):
        made = tensor_of(node, stored)
        if made is None:
            continue
        stored[made.name] = made
        graph.initializer.append(made)
        graph.node.remove(node)
        cast.update(node.input)
    used = {name for node in graph.node for name in node.input}
    for place in (graph.initializer, graph.input):
        kept = [one for one in place if one.name in used or one.name not in cast]
        del place[:]
        place.extend(kept)
    return len(graph.node) < before


def tensor_of(node: NodeProto, stored: Mapping[str, TensorProto]) -> TensorProto | None:
    """Return the tensor in the place of a node that is a Constant, or a Cast of stored numbers to float32."""
    if node.op_type == "Constant" and node.attribute[0].name == "value":
        made = TensorProto()
        made.CopyFrom(node.attribute[0].t)
        made.name = node.output[0]
        return made
    given = stored.get(node.input[0]) if node.op_type == "Cast" else None
    to = next((attribute.i for attribute in node.attribute if attribute.name == "to"), None)
    if given is None or given.data_type not in EXACT or to != TensorProto.FLOAT:
        return None
    return numpy_helper.from_array(numpy_helper.to_array(given).astype(np.float32), node.output[0])
