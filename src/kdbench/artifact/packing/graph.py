"""An ONNX file without the numbers of its tensors, deflated (RFC 1951) after a dictionary of graphs.

The first of the deflated bytes says which form follows: 1, that of `structure`, or 0, the ONNX file as it is, for
graphs that `structure` does not give back byte for byte, or in more bytes. Imports no torch.
"""

from __future__ import annotations

import math
import zlib
from importlib import resources

from onnx import ModelProto, TensorProto, numpy_helper

from kdbench.artifact.packing import structure
from kdbench.artifact.packing.numbers import BITS, TensorForm, joined, split
from kdbench.errors import DamagedFile
from kdbench.models import onnx_graph

DICTIONARY = resources.files("kdbench.artifact.packing").joinpath("graphs.bin").read_bytes()
PLAIN, STRUCTURED = range(2)
WINDOW = -15  # zlib's name for deflate without a header, of 32 kB
STRUCTURE = 8  # so many int64 numbers, such as the shape that Reshape is given, are a part of the graph


def apart(file: ModelProto) -> tuple[ModelProto, list[TensorProto]]:
    """Return the graph without the numbers of its tensors, and the tensors whose numbers those are, in order."""
    bare = ModelProto()
    bare.CopyFrom(file)
    taken = [tensor for tensor in file.graph.initializer if is_apart(tensor)]
    for tensor in bare.graph.initializer:
        if is_apart(tensor):
            tensor.ClearField("raw_data")
    return bare, taken


def is_apart(tensor: TensorProto) -> bool:
    """Whether the numbers of a tensor go apart from the graph."""
    count = math.prod(tensor.dims)
    there = tensor.data_type in BITS and all(size > 0 for size in tensor.dims)
    return there and (tensor.data_type != TensorProto.INT64 or count > STRUCTURE)


def form_of(tensor: TensorProto) -> TensorForm:
    """Return what is known of a tensor before its numbers."""
    return TensorForm(tensor.data_type, tuple(tensor.dims))


def canonical(file: ModelProto) -> ModelProto:
    """Return a copy in which every tensor that goes apart holds its numbers as bytes, and nothing behind the last.

    Raises `DamagedFile` for a tensor with more or fewer numbers than its shape says.
    """
    copy = ModelProto()
    copy.CopyFrom(file)
    for tensor in copy.graph.initializer:
        if not is_apart(tensor):
            continue
        if not tensor.HasField("raw_data"):
            try:
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
            except ValueError as error:
                raise DamagedFile(f"{tensor.name} holds other numbers than its shape takes ({error})") from error
        form, there = form_of(tensor), len(tensor.raw_data)
        if there != form.size_bytes:
            raise DamagedFile(f"{tensor.name} holds {there} bytes, and its shape takes {form.size_bytes}")
        if form.count * form.bits % 8:  # the last byte has bits that are no number's
            tensor.raw_data = joined(split(tensor.raw_data, form), form)
    return copy


def packed(bare: ModelProto) -> bytes:
    """Return a graph without numbers in as few bytes as it comes back from."""
    return min(map(deflated, forms(bare)), key=len)


def forms(bare: ModelProto) -> list[bytes]:
    """Return the forms of a graph from which it comes back byte for byte, and that are not longer than it."""
    content = bare.SerializeToString(deterministic=True)
    plain = bytes([PLAIN]) + content
    try:
        structured = bytes([STRUCTURED]) + structure.written(bare)
        same = read(structured, len(content)).SerializeToString(deterministic=True) == content
    except (DamagedFile, ValueError, TypeError):  # negative sizes, and names that are no UTF-8, which come as bytes
        return [plain]
    return [structured, plain] if same and len(structured) <= len(plain) else [plain]


def unpacked(content: bytes, most: int) -> ModelProto:
    """Return the graph again. Raises `DamagedFile` for what is none, or takes more than `most` bytes."""
    return read(inflated(content, most + 1), most)


def read(form: bytes, most: int) -> ModelProto:
    """Return the graph of a form, whose values' names take at most `most` bytes. Raises `DamagedFile`."""
    kind, content = form[:1], form[1:]
    if kind == bytes([STRUCTURED]):
        return structure.read(content, most)
    if kind == bytes([PLAIN]):
        return onnx_graph.parsed(content)
    raise DamagedFile("its graph is of no form that is known")


def deflated(form: bytes) -> bytes:
    """Return the form of a graph in fewer bytes."""
    coder = coder_after(DICTIONARY)
    return coder.compress(form) + coder.flush()


def coder_after(dictionary: bytes) -> zlib._Compress:
    """Return what deflates one form after a dictionary."""
    return zlib.compressobj(9, zlib.DEFLATED, WINDOW, 9, zlib.Z_DEFAULT_STRATEGY, dictionary)


def inflated(content: bytes, most: int) -> bytes:
    """Return the form again. Raises `DamagedFile` for what is none, or takes more than `most` bytes."""
    coder = zlib.decompressobj(WINDOW, DICTIONARY)
    try:
        graph = coder.decompress(content, most + 1)
    except zlib.error as error:
        raise DamagedFile(f"its graph cannot be read ({error})") from error
    if len(graph) > most or not coder.eof or coder.unused_data:
        raise DamagedFile("its graph is not of the length that its header says")
    return graph
