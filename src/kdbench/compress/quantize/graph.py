"""An ONNX graph to be rewritten: who makes a tensor, who takes it, and which numbers are stored."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


class Graph:
    """A copy of a file. Nodes may be changed in place, in whatever order they come to stand: `file` sorts them."""

    def __init__(self, file: ModelProto) -> None:
        self.copy = ModelProto()
        self.copy.CopyFrom(file)
        self.nodes = list(self.copy.graph.node)
        self.stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in self.copy.graph.initializer}
        self.results = [value.name for value in self.copy.graph.output]

    @property
    def input(self) -> str:
        """The name of what the file takes."""
        return next(value.name for value in self.copy.graph.input if value.name not in self.stored)

    def maker(self, name: str) -> NodeProto | None:
        """Return the node that makes a tensor, if one does."""
        return next((node for node in self.nodes if name in node.output), None)

    def takers(self, name: str) -> list[NodeProto]:
        """Return the nodes that take a tensor."""
        return [node for node in self.nodes if name in node.input]

    def only_taker(self, name: str) -> NodeProto | None:
        """Return the node that takes a tensor, if nothing else does."""
        takers = self.takers(name)
        return takers[0] if len(takers) == 1 and name not in self.results else None

    def numbers(self, node: NodeProto, position: int) -> np.ndarray | None:
        """Return the stored numbers that a node is given at a place, if it is given any there."""
        return self.stored.get(node.input[position]) if position < len(node.input) else None

    def holds(self, name: str) -> bool:
        """Whether a tensor is stored, as it is or as the whole numbers that it is made of."""
        while name not in self.stored:
            maker = self.maker(name)
            if maker is None or maker.op_type not in ("DequantizeLinear", "QuantizeLinear", "Cast"):
                return False
            name = maker.input[0]
        return True

    def store(self, name: str, values: np.ndarray) -> str:
        """Store numbers under a name, and return it."""
        return self.keep(numpy_helper.from_array(np.asarray(values), name))

    def keep(self, tensor: TensorProto) -> str:
        """Store a tensor, and return its name."""
        self.copy.graph.initializer.append(tensor)
        self.stored[tensor.name] = numpy_helper.to_array(tensor)
        return tensor.name

    def remove(self, *gone: NodeProto) -> None:
        """Take nodes away."""
        self.nodes = [node for node in self.nodes if not any(node is one for one in gone)]

    def leads_to_weights(self) -> list[NodeProto]:
        """Return the layers with stored weights, and all on whose results one of them depends."""
        asked: set[str] = set()
        found = []
        for node in reversed(self.nodes):
            weighted = node.op_type in WEIGHTED and any(map(self.holds, node.input))
            if weighted or asked.intersection(node.output):
                found.append(node)
                asked.update(node.input)
        return found[::-1]

    def file(self) -> ModelProto:
        """Return the file: each node after those it needs, and nothing stored that nobody takes."""
        graph = self.copy.graph
        known = {value.name for value in graph.input} | self.stored.keys() | {""}
        left, sorted_nodes = list(self.nodes), []
        while left:
            node = next(node for node in left if known.issuperset(node.input))
            left = [other for other in left if other is not node]
            sorted_nodes.append(node)
            known.update(node.output)
        taken = {name for node in sorted_nodes for name in node.input}
        kept = [tensor for tensor in graph.initializer if tensor.name in taken]
        made = ModelProto()
        made.CopyFrom(self.copy)
        del made.graph.node[:], made.graph.initializer[:]
        made.graph.node.extend(sorted_nodes)
        made.graph.initializer.extend(kept)
        return made
