"""A graph without numbers, in a form in which repeated layers repeat literally, whatever their widths and depth.

| what | how |
| --- | --- |
| the rest | the ONNX file without all that follows, in protobuf, behind its length |
| counts | of nodes, of stored tensors, and of values that have a name of their own |
| nodes | without inputs and outputs, then tensors without names and shapes: `recent`; a new one behind its length |
| shapes | the numbers of axes, then the sizes of all: see `recent` |
| names | of the tensors, then of those values: see `names` |
| references | inputs and outputs of nodes: see `references` |
"""

from __future__ import annotations

from google.protobuf.message import DecodeError
from onnx import ModelProto

from kdbench.artifact.packing import names, recent, references
from kdbench.artifact.packing.whole_numbers import Cursor, as_bytes
from kdbench.errors import DamagedFile
from kdbench.models import onnx_graph

# Bytes that a node, a tensor or a named value takes in an ONNX file, at least on average, and a size of an axis.
FEWEST, OF_AXIS = 8, 2
LARGER = "its graph is larger than its header says"


def written(bare: ModelProto) -> bytes:
    """Return the bytes of a graph. They are to be tried: of what is no valid ONNX, something else may come back.

    Raises `ValueError` for what cannot be written at all, such as shapes of negative sizes.
    """
    rest = ModelProto()
    rest.CopyFrom(bare)
    nodes, tensors = rest.graph.node, rest.graph.initializer
    listed, numbers = references.written(rest.graph)
    texts = names.written([*(tensor.name for tensor in tensors), *listed])
    counts = b"".join(map(as_bytes, (len(nodes), len(tensors), len(listed))))
    axes = b"".join(as_bytes(len(tensor.dims)) for tensor in tensors)
    sizes = recent.written([size for tensor in tensors for size in tensor.dims], as_bytes)
    for node in nodes:
        del node.input[:], node.output[:]
    for tensor in tensors:
        tensor.ClearField("name")
        tensor.ClearField("dims")
    parts = [part.SerializeToString(deterministic=True) for part in [*nodes, *tensors]]
    del nodes[:], tensors[:]
    known = recent.written(parts, with_length)
    return with_length(rest.SerializeToString(deterministic=True)) + counts + known + axes + sizes + texts + numbers


def with_length(part: bytes) -> bytes:
    """Return a part behind its length."""
    return as_bytes(len(part)) + part


def read(content: bytes, most: int) -> ModelProto:
    """Return the graph again.

    Raises `DamagedFile` for what is none, or takes more than `most` bytes: before it takes them.
    """
    cursor = Cursor(content)
    file = onnx_graph.parsed(cursor.bytes(cursor.number()))
    nodes, tensors, listed = (cursor.number() for _ in range(3))
    if FEWEST * (nodes + tensors + listed) > most:
        raise DamagedFile(LARGER)
    parts = recent.read(cursor, nodes + tensors, lambda cursor: cursor.bytes(cursor.number()))
    if sum(map(len, parts)) > most:
        raise DamagedFile(LARGER)
    axes = [cursor.number() for _ in range(tensors)]
    if OF_AXIS * sum(axes) > most:
        raise DamagedFile(LARGER)
    sizes = iter(recent.read(cursor, sum(axes), Cursor.number))
    texts = names.read(cursor, tensors + listed, most)
    try:
        for part in parts[:nodes]:
            file.graph.node.add().MergeFromString(part)
        for part, name, count in zip(parts[nodes:], texts, axes, strict=False):
            tensor = file.graph.initializer.add(name=name, dims=[next(sizes) for _ in range(count)])
            tensor.MergeFromString(part)
    except DecodeError as error:
        raise DamagedFile(f"its graph cannot be read ({error})") from error
    references.read(file.graph, texts[tensors:], cursor, most)
    return file
