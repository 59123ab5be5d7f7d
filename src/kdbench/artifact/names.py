"""Names in the file that ships: short ones for what nobody calls by its name. Imports no torch.

Layers are named by the tensors that they store, so that those names stay, as do those of inputs and outputs.
"""

from __future__ import annotations

from onnx import ModelProto

from kdbench.artifact.packing.references import positional
from kdbench.models import onnx_graph


def by_position(file: ModelProto) -> ModelProto:
    """Return a copy whose nodes have no names, and whose values between them are named by their position.

    Stored tensors stand in the order in which nodes use them, and inferred shapes are left out, so that layers which
    are repeated are repeated bytes in a packed file. What it computes is the same to the last bit. A file with graphs
    within nodes, or notes on how values were quantized, stays as it is: names of values stand there too.
    """
    renamed = ModelProto()
    renamed.CopyFrom(file)
    graph = renamed.graph
    if len(list(onnx_graph.nodes(graph))) > len(graph.node) or graph.quantization_annotation:
        return renamed
    del graph.value_info[:]
    stays = {part.name for part in [*graph.input, *graph.output, *graph.initializer]}
    stays |= {tensor.values.name for tensor in graph.sparse_initializer} | {""}
    given: dict[str, str] = {}
    number = 0
    for node in graph.node:
        node.ClearField("name")
        node.input[:] = [given.get(name, name) for name in node.input]
        for place, name in enumerate(node.output):
            if name not in stays:
                given[name] = node.output[place] = free(positional(number), stays)
            number += 1
    in_order = dict.fromkeys(name for node in graph.node for name in node.input)
    used = {name: place for place, name in enumerate(in_order)}
    ordered = sorted(graph.initializer, key=lambda tensor: used.get(tensor.name, len(used)))
    del graph.initializer[:]
    graph.initializer.extend(ordered)
    return renamed


def free(name: str, taken: set[str]) -> str:
    """Return `name`, with as many `_` behind it as make it one that is not taken."""
    while name in taken:
        name += "_"
    return name
