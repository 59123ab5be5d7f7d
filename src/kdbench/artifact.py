"""What ships and what is measured: one ONNX file, images in [0, 1] in, logits out."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx
import onnxruntime
import torch
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper
from torch import nn

from kdbench.errors import DamagedFile

INPUT, OUTPUT = "images", "logits"

# Part of the key of stored exports. To be raised whenever the same network gives another file than before.
FORMAT = 1

Session = Callable[[np.ndarray], np.ndarray]
"""float32 images (n, 1, 28, 28) in [0, 1] -> float32 logits (n, 10)."""


@dataclass(frozen=True)
class Artifact:
    """An ONNX file: its graph, and its bytes as they are written to disk."""

    file: ModelProto

    @cached_property
    def content(self) -> bytes:
        """The bytes of the file, after ONNX's own check that it is well formed."""
        onnx.checker.check_model(self.file, full_check=True)
        return self.file.SerializeToString(deterministic=True)

    @property
    def size_bytes(self) -> int:
        """The length of the file."""
        return len(self.content)


@dataclass(frozen=True)
class Artifacts:
    """The file that ships, its architecture uncompressed, and its teacher's file, if it had a teacher."""

    shipped: Artifact
    baseline: Artifact
    teacher: Artifact | None


def export(network: nn.Module) -> ModelProto:
    """Return `network` (on the CPU, in eval mode) as an ONNX model with a free batch size.

    Batch norm is folded into the convolution before it. Names of source files and other traces of the
    export are removed: they are not part of what ships and would count as bytes.
    """
    example = torch.rand(2, 1, 28, 28)
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                verbose=False,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
    finally:
        logging.disable(level)
    assert program is not None
    return bare(program.model_proto)


def bare(file: ModelProto) -> ModelProto:
    """Return a copy without documentation, metadata, inferred shapes and negative zeros.

    What it computes is the same. Weights that were pruned while negative are -0.0, whose sign bit gzip would
    have to store.
    """
    stripped = ModelProto()
    stripped.CopyFrom(file)
    graph = stripped.graph
    del stripped.metadata_props[:], graph.metadata_props[:], graph.value_info[:]
    stripped.doc_string = graph.doc_string = ""
    for part in [*graph.node, *graph.input, *graph.output, *graph.initializer]:
        part.doc_string = ""
        del part.metadata_props[:]
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(values + np.float32(0), tensor.name))
    return stripped


def load(content: bytes) -> ModelProto:
    """Return the model in the bytes of a file that may come from anyone.

    Raises `DamagedFile` if it is not one, names operators that are not ONNX's own, or wants other files read.
    """
    try:
        file = ModelProto.FromString(content)
    except DecodeError as error:
        raise DamagedFile(f"it is not an ONNX model: {error}") from error
    inside = list(nodes(file.graph))
    domains = {opset.domain for opset in file.opset_import} | {node.domain for node in inside}
    if file.functions or domains - {"", "ai.onnx"}:
        raise DamagedFile("it uses operators that are not ONNX's own")
    if any(a.HasField("g") or a.graphs for node in inside for a in node.attribute):
        raise DamagedFile("it holds loops or branches, which might never end")
    if file.graph.sparse_initializer or any(a.HasField("sparse_tensor") for node in inside for a in node.attribute):
        raise DamagedFile("it holds sparse tensors, which kdbench never writes")
    tensors = [*file.graph.initializer, *attribute_tensors(file.graph)]
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in tensors):
        raise DamagedFile("its weights lie in another file")
    try:
        onnx.checker.check_model(file, full_check=True)
    except Exception as error:  # onnx raises many kinds, some of its own
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise DamagedFile(f"it is not a valid ONNX model: {reason[0]}") from error
    return file


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


def session(content: bytes, threads: int) -> Session:
    """Return the file's function, run by ONNX Runtime on `threads` CPU threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; its warnings concern how it optimises
    runtime = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda images: runtime.run([OUTPUT], {INPUT: images})[0]
