"""`model.kdz`, what travels: an ONNX file in as few bytes as it can be had back from, byte for byte.

| bytes | what stands there |
| --- | --- |
| 4 | `KDZ1` |
| 8 | the first bytes of the SHA-256 of the ONNX file |
| 1 to 5 | the length of the ONNX file: 7 bits a byte, the lowest first, the highest bit set in all but the last |
| 1 to 5 | the length of the graph below, likewise |
| as it says | the graph: the ONNX file without the numbers of its tensors, see `graph` |
| the rest | the numbers, through a range coder: see `numbers` and `symbols` |

Imports no torch.
"""

from __future__ import annotations

import hashlib

from kdbench.artifact.packing import graph, numbers
from kdbench.artifact.packing.symbols import Reader, Writer
from kdbench.artifact.packing.whole_numbers import Cursor, as_bytes
from kdbench.errors import DamagedFile
from kdbench.models import onnx_graph

MAGIC = b"KDZ1"
CHECKED = 8  # bytes of the checksum
MOST_BYTES = 2**31 - 1  # of an ONNX file: protobuf's own limit


def pack(content: bytes) -> bytes:
    """Return the ONNX file `content` packed.

    Raises `DamagedFile` if it is none, if it is damaged, or if its weights lie elsewhere.

    A file that is written in another way than kdbench writes its own comes back with the same graph and numbers, and
    not byte for byte.
    """
    file = onnx_graph.parsed(content)
    if onnx_graph.outside(file):
        raise DamagedFile("its weights lie in another file")
    file = graph.canonical(file)
    whole = file.SerializeToString(deterministic=True)
    bare, tensors = graph.apart(file)
    writer = Writer()
    for tensor in tensors:
        numbers.write(writer, tensor.raw_data, graph.form_of(tensor))
    packed_graph = graph.packed(bare)
    lengths = as_bytes(len(whole)) + as_bytes(len(packed_graph))
    return MAGIC + checksum(whole) + lengths + packed_graph + writer.content()


def unpack(content: bytes) -> bytes:
    """Return the ONNX file that was packed.

    Raises `DamagedFile` for anything else: nothing comes back that has not the checksum in the header, and no more
    memory is taken than a small multiple of the length in it.
    """
    if content[: len(MAGIC)] != MAGIC:
        raise DamagedFile("it is no packed network (kdz)")
    cursor = Cursor(content, len(MAGIC))
    known = cursor.bytes(CHECKED)
    size = cursor.number()
    if size > MOST_BYTES:
        raise DamagedFile("it is larger than any ONNX file, or its header is damaged")
    file = graph.unpacked(cursor.bytes(cursor.number()), size)
    tensors = [tensor for tensor in file.graph.initializer if graph.is_apart(tensor)]
    if sum(graph.form_of(tensor).size_bytes for tensor in tensors) > size:
        raise DamagedFile("its tensors are larger than its header says")
    reader = Reader(content[cursor.at :])
    for tensor in tensors:
        tensor.raw_data = numbers.read(reader, graph.form_of(tensor))
    whole = file.SerializeToString(deterministic=True)
    if len(whole) != size or checksum(whole) != known:
        raise DamagedFile("it is damaged: what comes out is not what was packed")
    return whole


def payload_bytes(packed: bytes) -> int:
    """Count the bytes of what was packed that are numbers of tensors: neither graph nor header."""
    cursor = Cursor(packed, len(MAGIC) + CHECKED)
    cursor.number()
    cursor.bytes(cursor.number())
    return len(packed) - cursor.at


def checksum(content: bytes) -> bytes:
    """Return what distinguishes one file from another."""
    return hashlib.sha256(content).digest()[:CHECKED]
