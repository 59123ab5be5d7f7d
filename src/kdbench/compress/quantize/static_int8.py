"""Int8 weights and activations, whose ranges are found beforehand on training images."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto

from kdbench.compress.quantize import fusions
from kdbench.compress.quantize.calibration import CalibrationBatches, fine_histograms
from kdbench.compress.quantize.graph import WEIGHTED, Graph
from kdbench.compress.quantize.quiet import quiet
from kdbench.compress.quantize.stored_weights import used_both_ways
from kdbench.compress.step import FileStep, Task
from kdbench.errors import BadSetting
from kdbench.models.onnx_graph import layer_name
from kdbench.settings import checks

MINMAX, PERCENTILE, ENTROPY = "minmax", "percentile", "entropy"
OUTPUT, LAYER = "output", "layer"
LINEAR = ("Gemm", "MatMul")
MOST_LOST = 0.01  # of the squares of a layer's weights, by one scale, that nobody typed
# What ONNX Runtime can do in whole numbers, as far as nothing is lost by it: no softmax, no logarithm.
OPERATORS = (
    *WEIGHTED,
    *("Add", "AveragePool", "GlobalAveragePool", "MaxPool", "Relu", "Clip", "Concat", "Pad"),
    *("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze"),
)


@dataclass(frozen=True)
class Int8Form:
    """What of a network stays float: layers by name. And whose weights have one scale in all: tensors by name."""

    in_float: Sequence[str]
    one_scale: Sequence[str]


@dataclass(frozen=True)
class StaticInt8(FileStep):
    """Store weights in 8 bits, and compute with activations of 8 bits on grids that are fixed beforehand.

    Jacob et al. 2018 (Quantization and Training of Neural Networks, section 2), with ONNX Runtime's quantizer:
    `real = scale (whole - zero)`, activations uint8 with one grid a tensor, weights int8 with `zero = 0` and a scale
    an output. Its result is rewritten by `fusions`, which makes more of it run in whole numbers. Logits are float.

    Signed weights, since ONNX Runtime multiplies those two to three times as fast as unsigned ones (cnn_deep 2.9x as
    fast as float32 at batch 256, and 1.2x with unsigned; AVX512-VNNI).
    """

    images: int  # training images that the ranges are found on
    ranges: str  # of an activation: `minmax`, all of it; `percentile`; or the `entropy` that loses least (KL)
    percentile: float  # of the values that a range holds, by `percentile`
    weight_bits: int  # 7 or 8; with 8, processors without VNNI overflow, see `DynamicInt8`
    in_float: Sequence[str] | None  # layers that stay as they are; None: the first or none, whichever is faster here
    linear_scales: str | None  # of all linear layers but the last: one an `output` or one a `layer`; None: the faster

    def __post_init__(self) -> None:
        checks.whole("compress.images", self.images, 1)
        checks.one_of("compress.ranges", self.ranges, [MINMAX, PERCENTILE, ENTROPY])
        checks.real("compress.percentile", self.percentile, "(50, 100]")
        checks.whole("compress.weight_bits", self.weight_bits, 7, 8)
        if self.in_float:
            checks.several("compress.in_float", self.in_float, "[0]")
        if self.linear_scales is not None:
            checks.one_of("compress.linear_scales", self.linear_scales, [OUTPUT, LAYER])

    def __call__(self, file: ModelProto, task: Task) -> ModelProto:
        """Return the file. Raises `BadSetting` if a layer is named that it has not, or all are left out."""
        images = task.data.to_calibrate(self.images).numpy()
        ready = fusions.relu_before_pooling(named(file))
        ways = [self.quantized(ready, images, form) for form in self.forms(ready)]
        return ways[task.fastest(ways, file)] if len(ways) > 1 else ways[0]

    def forms(self, file: ModelProto) -> list[Int8Form]:
        """Return the forms to choose from."""
        nodes = [node for node in Graph(file).leads_to_weights() if is_layer(node, file)]
        weights = list(dict.fromkeys(node.input[1] for node in nodes))  # one that is used twice is one layer
        layers = list(map(layer_name, weights))
        if not layers:
            raise BadSetting("the file has no weights in float32 that could be stored in int8")
        if self.in_float is None:
            left = [[], layers[:1]][: len(layers)]
        else:
            left = [[str(name) for name in self.in_float]]  # names may be numbers, which YAML reads as such
            require_layers(left[0], layers)
        both = used_both_ways(file)
        linear = list(dict.fromkeys(node.input[1] for node in nodes[:-1] if node.op_type in LINEAR))
        if self.linear_scales is None:
            stored = Graph(file).stored
            fit = [name for name in linear if squares_lost(stored[name], self.weight_bits) <= MOST_LOST]
            scales = [both, [*both, *fit]] if set(fit).difference(both) else [both]
        else:
            scales = [[*both, *linear] if self.linear_scales == LAYER else both]
        return [Int8Form(in_float, one_scale) for one_scale in scales for in_float in left]

    def quantized(self, file: ModelProto, images: np.ndarray, form: Int8Form) -> ModelProto:
        """Return the file in int8, but for what the form leaves in float, and what comes after the last layer."""
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

        methods = {
            MINMAX: CalibrationMethod.MinMax,
            PERCENTILE: CalibrationMethod.Percentile,
            ENTROPY: CalibrationMethod.Entropy,
        }
        graph = Graph(file)
        inside = {node.name for node in graph.leads_to_weights()}
        left = [node.name for node in graph.nodes if node.name not in inside]
        left += [
            node.name for node in graph.nodes if is_layer(node, file) and layer_name(node.input[1]) in form.in_float
        ]
        fine = fine_histograms() if self.ranges == ENTROPY else contextlib.nullcontext()
        with tempfile.TemporaryDirectory() as folder, quiet(), fine, contextlib.redirect_stdout(io.StringIO()):
            paths = [Path(folder) / name for name in ("float.onnx", "int8.onnx")]
            onnx.save(file, paths[0])
            quantize_static(
                *paths,
                CalibrationBatches(graph.input, images),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(OPERATORS),
                per_channel=True,
                reduce_range=self.weight_bits == 7,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=left,
                calibrate_method=methods[self.ranges],
                extra_options={
                    "CalibPercentile": self.percentile,
                    "TensorQuantOverrides": {
                        weight: [
                            {"quant_type": QuantType.QInt8, "symmetric": True, "reduce_range": self.weight_bits == 7}
                        ]
                        for weight in form.one_scale
                    },
                },
            )
            made = onnx.load(paths[1])
        for rewrite in (fusions.float_results, fusions.pixels_as_bytes, fusions.padding_in_integers):
            made = rewrite(made)
        return bare(made)


def named(file: ModelProto) -> ModelProto:
    """Return a copy in which every node has a name of its own, by which the quantizer can leave it out."""
    copy = ModelProto()
    copy.CopyFrom(file)
    for number, node in enumerate(copy.graph.node):
        node.name = f"node_{number}"
    return copy


def bare(file: ModelProto) -> ModelProto:
    """Return a copy without names of nodes and without what the quantizer says of itself: bytes that do nothing."""
    copy = ModelProto()
    copy.CopyFrom(file)
    for node in copy.graph.node:
        node.name = ""
    del copy.graph.value_info[:], copy.metadata_props[:]
    copy.producer_name = copy.producer_version = ""
    return copy


def is_layer(node: onnx.NodeProto, file: ModelProto) -> bool:
    """Whether a node is a layer with stored weights."""
    stored = {tensor.name for tensor in file.graph.initializer}
    return node.op_type in WEIGHTED and len(node.input) > 1 and node.input[1] in stored


def squares_lost(weights: np.ndarray, bits: int) -> float:
    """Return what share of their squared sum weights lose by rounding with one scale."""
    step = float(np.abs(weights).max()) / 2 ** (bits - 1) or 1.0
    return float(np.square(weights - step * np.rint(weights / step)).sum() / max(np.square(weights).sum(), 1e-30))


def require_layers(asked: Sequence[str], layers: Sequence[str]) -> None:
    """Raise `BadSetting` for names that are no layers, and if nothing is left to be quantized."""
    unknown = [name for name in asked if name not in layers]
    if unknown:
        raise BadSetting(f"compress.in_float: there is no layer {unknown[0]}: choose from {', '.join(layers)}")
    if not set(layers).difference(asked):
        raise BadSetting("compress.in_float leaves no layer to be stored in int8: name fewer")
