"""Making of an ONNX file of another tool one that maps images to logits as kdbench's own do."""

from __future__ import annotations

import re

import numpy as np
import onnx
import onnx.inliner
import onnx.version_converter
import onnxruntime
from onnx import ModelProto

from kdbench.errors import DamagedFile
from kdbench.models.onnx_ends import adapt_images, adapt_logits, only_input
from kdbench.models.onnx_graph import INPUT, OUTPUT
from kdbench.models.onnx_stored import store_numbers

OLDEST = 13  # the version of ONNX's operators from which on files are quantized; older ones are converted
LATEST = 17
QUANTIZED = re.compile(r"Quantize|Integer$|^QLinear")
TOLERANCE = 1e-3  # of the largest logit, between images run together and one at a time


def fitted(file: ModelProto, shape: tuple[int, int, int], classes: int) -> ModelProto:
    """Return `file` with the input `images` (batch, *shape) and the output `logits` (batch, classes).

    Images may be taken as (batch, height, width, channels) or (batch, numbers) too; a softmax at the end is left
    out, a batch size that is fixed is made free, and numbers that nodes hold are stored. Raises `DamagedFile`, with
    what is wrong, if it cannot be done.
    """
    quantized = sorted({node.op_type for node in file.graph.node if QUANTIZED.search(node.op_type)})
    if quantized:
        raise DamagedFile(f"it is quantized already ({quantized[0]}): give the file of the network in float32")
    file = recent(file)
    graph = file.graph
    if store_numbers(graph):
        file.ir_version = max(file.ir_version, 4)  # the first in which what is stored need not be an input
    given = only_input(graph)
    adapt_images(graph, given, shape)
    adapt_logits(graph, classes)
    del graph.value_info[:]  # which may fix the batch size
    require_logits(file, shape, classes)
    return file


def inlined(file: ModelProto) -> ModelProto:
    """Return a model whose functions, which some exporters write, stand in its graph. Raises `DamagedFile`."""
    if not file.functions:
        return file
    try:
        made = onnx.inliner.inline_local_functions(file)
    except Exception as error:  # onnx raises many kinds
        raise DamagedFile("its functions cannot be put into its graph") from error
    used = {node.domain for node in made.graph.node}
    kept = [opset for opset in made.opset_import if opset.domain in ("", "ai.onnx") or opset.domain in used]
    del made.opset_import[:]
    made.opset_import.extend(kept)
    return made


def recent(file: ModelProto) -> ModelProto:
    """Return a copy whose operators are not older than `OLDEST`."""
    version = max((opset.version for opset in file.opset_import if opset.domain in ("", "ai.onnx")), default=1)
    if version >= OLDEST:
        made = ModelProto()
        made.CopyFrom(file)
        return made
    try:
        return onnx.version_converter.convert_version(file, LATEST)
    except Exception as error:  # the converter raises many kinds
        raise DamagedFile(f"its operators, of version {version}, cannot be converted to version {LATEST}") from error


def require_logits(file: ModelProto, shape: tuple[int, int, int], classes: int) -> None:
    """Raise `DamagedFile` unless `file` makes `classes` logits of each image, whatever others it is run with."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is said in one line
    options.intra_op_num_threads = 1
    images = np.random.default_rng(0).random((3, *shape), np.float32)
    try:
        content = file.SerializeToString()
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        one = [session.run([OUTPUT], {INPUT: images[at : at + 1]})[0] for at in range(len(images))]
    except Exception as error:  # ONNX Runtime raises many kinds
        raise DamagedFile(f"ONNX Runtime cannot run it ({reason(error)})") from error
    try:
        together = session.run([OUTPUT], {INPUT: images})[0]
    except Exception as error:
        raise DamagedFile(
            "it takes one image at a time: export it with a free batch size, in torch.onnx.export "
            "dynamic_shapes=({0: torch.export.Dim('batch')},)"
        ) from error
    found = one[0].shape
    if len(found) != 2 or found[0] != 1:
        raise DamagedFile(f"its output has the shape {found} for one image: logits are (1, classes)")
    if found[1] != classes:
        raise DamagedFile(f"it gives {found[1]} logits: the data have {classes} classes")
    alone = np.concatenate(one)
    if not np.isfinite(alone).all():
        raise DamagedFile("its logits are not finite")
    if together.shape != alone.shape or np.abs(together - alone).max() > TOLERANCE * max(np.abs(alone).max(), 1):
        raise DamagedFile("it gives an image other logits when others are beside it: export it in evaluation mode")
    if (alone >= 0).all() and (alone <= 1).all():  # also of a sigmoid
        raise DamagedFile("its outputs look like probabilities: export the logits, before the softmax or sigmoid")


def reason(error: Exception) -> str:
    """Return the first line of what ONNX Runtime says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
