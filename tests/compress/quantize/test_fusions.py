"""Rewrites of graphs: the same numbers come out, by fewer steps."""

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from kdbench.compress.quantize import fusions


def model(nodes, stored, shape=("n", 2, 6, 6), out="y") -> ModelProto:
    value = helper.make_tensor_value_info
    tensors = [numpy_helper.from_array(np.asarray(values), name) for name, values in stored.items()]
    graph = helper.make_graph(
        [helper.make_node(kind, given, made, **knobs) for kind, given, made, knobs in nodes],
        "g",
        [value("x", TensorProto.FLOAT, shape)],
        [value(out, TensorProto.FLOAT, None)],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def result(file, images):
    return ReferenceEvaluator(file).run(None, {"x": images})[0]


@pytest.fixture
def images():
    return np.random.default_rng(0).random((3, 2, 6, 6), np.float32) - np.float32(0.5)


def kinds(file):
    return [node.op_type for node in file.graph.node]


def test_pooling_goes_after_relu_and_gives_the_same(images):
    file = model(
        [
            ("MaxPool", ["x"], ["p"], {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
            ("Relu", ["p"], ["y"], {}),
        ],
        {},
    )
    made = fusions.relu_before_pooling(file)
    assert kinds(made) == ["Relu", "MaxPool"]
    assert np.array_equal(result(made, images), result(file, images))


def test_pooling_whose_result_is_needed_elsewhere_stays(images):
    file = model(
        [
            ("MaxPool", ["x"], ["p"], {"kernel_shape": [2, 2]}),
            ("Relu", ["p"], ["r"], {}),
            ("Add", ["p", "r"], ["y"], {}),
        ],
        {},
    )
    made = fusions.relu_before_pooling(file)
    assert kinds(made) == kinds(file)
    assert np.array_equal(result(made, images), result(file, images))


GRID = {"scale": np.float32(0.02), "zero": np.uint8(40)}
OTHER = {"scale2": np.float32(0.03), "zero2": np.uint8(40)}


def padded(back=("scale", "zero"), **knobs):
    nodes = [
        ("QuantizeLinear", ["x", "scale", "zero"], ["q"], {}),
        ("DequantizeLinear", ["q", "scale", "zero"], ["d"], {}),
        ("Pad", ["d", "pads"], ["p"], knobs),
        ("QuantizeLinear", ["p", *back], ["q2"], {}),
        ("DequantizeLinear", ["q2", *back], ["y"], {}),
    ]
    return model(nodes, {**GRID, **OTHER, "pads": np.int64([0, 1, 0, 0, 0, 2, 1, 0])})


def test_padding_in_integers_gives_the_same(images):
    made = fusions.padding_in_integers(padded())
    assert kinds(made) == ["QuantizeLinear", "Pad", "DequantizeLinear"]
    assert np.array_equal(result(made, images), result(padded(), images))


@pytest.mark.parametrize("file", [padded(mode="edge"), padded(back=("scale2", "zero2"))], ids=["edge", "other grid"])
def test_other_padding_stays(file, images):
    made = fusions.padding_in_integers(file)
    assert kinds(made) == kinds(file)
    assert np.array_equal(result(made, images), result(file, images))


def with_pixels(mean, deviation, between=()):
    mean, deviation = np.float32(mean).reshape(-1, 1, 1), np.float32(deviation).reshape(-1, 1, 1)
    stored = {
        "mean": mean,
        "deviation": deviation,
        "scale": np.float32(1 / (255 * deviation.min())),
        "zero": np.uint8(34),
        "flat": np.int64([-1, 256]),
    }
    nodes = [
        ("Sub", ["x", "mean"], ["s"], {}),
        ("Div", ["s", "deviation"], ["n"], {}),
        *between,
        ("QuantizeLinear", [between[-1][2][0] if between else "n", "scale", "zero"], ["q"], {}),
        ("DequantizeLinear", ["q", "scale", "zero"], ["y"], {}),
    ]
    return model(nodes, stored)


@pytest.mark.parametrize("between", [[], [("Reshape", ["n", "flat"], ["f"], {})]], ids=["at once", "flattened"])
def test_pixels_are_off_by_less_than_half_a_step(between):
    pixels = np.arange(256, dtype=np.float32).reshape(1, 1, 16, 16) / np.float32(255)
    made = fusions.pixels_as_bytes(with_pixels(0.1307, 0.3081, between))
    assert kinds(made) == [*(node[0] for node in between), "QuantizeLinear", "DequantizeLinear"]
    off = result(made, pixels).ravel() - (pixels.ravel() - np.float32(0.1307)) / np.float32(0.3081)
    assert np.ptp(off) < 1e-5
    assert abs(off.mean()) <= 0.5 / 255 / 0.3081


def test_colours_of_several_means_stay(images):
    file = with_pixels([0.1, 0.4], [0.3, 0.3])
    assert fusions.pixels_as_bytes(file) == file


def test_only_what_follows_the_last_layer_is_left_in_float(images):
    nodes = [
        ("QuantizeLinear", ["x", "scale", "zero"], ["q"], {}),
        ("DequantizeLinear", ["q", "scale", "zero"], ["d"], {}),
        ("Conv", ["d", "w"], ["c"], {}),
        ("QuantizeLinear", ["c", "scale", "zero"], ["q2"], {}),
        ("DequantizeLinear", ["q2", "scale", "zero"], ["y"], {}),
    ]
    file = model(nodes, GRID | {"w": np.ones((1, 2, 3, 3), np.float32)})
    made = fusions.float_results(file)
    assert kinds(made) == ["QuantizeLinear", "DequantizeLinear", "Conv"]
    assert np.abs(result(made, images) - result(file, images)).max() > 0
