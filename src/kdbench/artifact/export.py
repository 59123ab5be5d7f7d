"""From a network to the ONNX file that ships: images in [0, 1] in, logits out."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from onnx import ModelProto, NodeProto, helper, numpy_helper
from torch import nn

from kdbench.artifact.normalised import normalised
from kdbench.compress.quantize.fake_quantize import TRANSLATION
from kdbench.compress.quantize.graph import Graph
from kdbench.compress.quantize.integers import whole_numbers
from kdbench.models.network import Network
from kdbench.models.onnx_file import OnnxFile
from kdbench.models.onnx_graph import INPUT, OUTPUT


def export(network: nn.Module, shape: Sequence[int]) -> ModelProto:
    """Return `network` (on the CPU, in eval mode) as an ONNX model with a free batch size.

    `shape`: channels, height and width of the images that it takes.

    A network that is an ONNX file already stays as it is, behind its normalisation if it has one.
    Batch norm is folded into the convolution before it; weights that were trained on grids become whole numbers.
    Names of source files and other traces of the export are removed: they do not belong to what ships, and take
    bytes.
    """
    if isinstance(network, Network) and isinstance(network.model, OnnxFile):
        return normalised(network, network.model)
    example = torch.rand(2, *shape)
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
                custom_translation_table=TRANSLATION,
            )
    finally:
        logging.disable(level)
    assert program is not None
    return whole_numbers(bare(without_copies(program.model_proto, list(network.state_dict()))))


def without_copies(file: ModelProto, names: Sequence[str]) -> ModelProto:
    """Return the file in which all linear layers with one weight take the same stored matrix: it, or its transpose.

    The exporter stores what it makes of one of the weights `names`: the same numbers again, counted twice. Gemm takes
    either; MatMul, of images with more axes, takes what it is given.
    """
    graph = Graph(file)
    weights = {name: graph.stored[name] for name in names if name in graph.stored and graph.stored[name].ndim == 2}
    linear = [node for node in graph.nodes if node.op_type in ("Gemm", "MatMul")]
    transposed = {}  # the names of copies, and the weight of each
    for node in linear:
        made = graph.numbers(node, 1) if node.input[1] not in weights else None
        name = next((name for name in weights if made is not None and np.array_equal(weights[name].T, made)), None)
        if name is not None:
            transposed[node.input[1]] = name
    by_matmul = [node.input[1] for node in linear if node.op_type == "MatMul" and node.input[1] in transposed]
    kept = {transposed[copy]: copy for copy in by_matmul}  # one copy of a weight, for all that take it
    for node in linear:
        given = node.input[1]
        weight = transposed.get(given, given)
        taken = kept.get(weight, weight)
        if taken != given and (node.op_type == "Gemm" or given in transposed):
            node.input[1] = taken
            if (taken in transposed) != (given in transposed):
                transpose(node)
    return graph.file() if transposed else file


def transpose(node: NodeProto) -> None:
    """Have a Gemm transpose its second matrix where it did not, and the other way round."""
    turned = next((attribute for attribute in node.attribute if attribute.name == "transB"), None)
    if turned is None:
        node.attribute.append(helper.make_attribute("transB", 1))
    else:
        turned.i = 1 - turned.i


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
