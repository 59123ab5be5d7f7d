"""Reading an ONNX file that may come from anyone: nothing in it is run, and what cannot be trusted is refused."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from kdbench.errors import DamagedFile

INPUT, OUTPUT = "images", "logits"  # what they are called in every file of kdbench
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)


def load(content: bytes) -> ModelProto:
    """Return the model in the bytes of a file that may come from anyone.

    Raises `DamagedFile` if it is not one, names operators that are not ONNX's own, or wants other files read.
    """
    file = parsed(content)
    inside = list(nodes(file.graph))
    domains = {opset.domain for opset in file.opset_import} | {node.domain for node in inside}
    if file.functions or domains - {"", "ai.onnx"}:
        others = sorted({node.op_type for node in inside if node.domain not in ("", "ai.onnx")})
        named = f" ({', '.join(others)})" if others else ""
        raise DamagedFile(f"it uses operators that are not ONNX's own{named}")
    if any(a.HasField("g") or a.graphs for node in inside for a in node.attribute):
        raise DamagedFile("it holds loops or branches, which might never end")
    if file.graph.sparse_initializer or any(a.HasField("sparse_tensor") for node in inside for a in node.attribute):
        raise DamagedFile("it holds sparse tensors, which kdbench never writes")
    if outside(file):
        raise DamagedFile("its weights lie in another file")
    try:
        onnx.checker.check_model(file, full_check=True)
    except Exception as error:  # onnx raises many kinds, some of its own
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise DamagedFile(f"it is not a valid ONNX model: {reason[0]}") from error
    return file


def parsed(content: bytes) -> ModelProto:
    """Return the model in `content`, of which nothing is known yet. Raises `DamagedFile` if there is none."""
    try:
        return ModelProto.FromString(content)
    except DecodeError as error:
        raise DamagedFile(f"it is not an ONNX model: {error}") from error


def outside(file: ModelProto) -> list[TensorProto]:
    """Return the tensors whose numbers lie in another file."""
    tensors = [*file.graph.initializer, *attribute_tensors(file.graph)]
    return [tensor for tensor in tensors if tensor.data_location == TensorProto.EXTERNAL]


def nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """Yield every node, those of graphs within nodes included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                yield from nodes(inner)


def attribute_tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Yield the tensors that stand in nodes, and those that graphs within nodes store."""
    for node in nodes(graph):
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for inner in [attribute.g, *attribute.graphs]:
                yield from inner.initializer


def layer_name(weight: str) -> str:
    """Return what `kdbench ls --layers` calls the layer of a stored weight.

    The exporter names weights by their place in the whole network, in which the model comes second, after its
    normalisation.
    """
    return weight.removeprefix("1.").removesuffix(".weight")
