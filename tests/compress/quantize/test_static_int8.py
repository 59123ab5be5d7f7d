"""Int8 on ranges found beforehand: what is stored, what comes out, and which images were looked at."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions
from tests.compress.tasks import task_of, used

from kdbench.artifact.export import export
from kdbench.artifact.file import Artifact
from kdbench.artifact.session import session
from kdbench.compress.quantize.static_int8 import LAYER, OUTPUT, StaticInt8, squares_lost
from kdbench.errors import BadSetting
from kdbench.evaluation import size
from kdbench.evaluation.weights import layers, one_scale_layers
from kdbench.models.onnx_graph import layer_name

ALL = StaticInt8(images=64, ranges="minmax", percentile=99.9, weight_bits=7, in_float=[], linear_scales=OUTPUT)
FAMILIES = ["mlp", "cnn", "resnet"]


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request, digits):
    """A network as float32 and as int8."""
    plain = export(used(request.param, digits), digits.shape)
    return Artifact(plain), Artifact(ALL(plain, task_of(digits)))


def images_of(splits, count=64):
    return splits.test.images[:count].numpy().astype(np.float32) / np.float32(255)


def test_every_layer_is_int8_and_counted(pair):
    plain, quantized = pair
    kinds = {tensor.name: tensor.data_type for tensor in quantized.file.graph.initializer}
    found = layers(quantized.file)
    assert len(found) == len(layers(plain.file)) > 0
    assert {kinds[layer.source] for layer in found} == {TensorProto.INT8}
    assert size.macs(plain.file) == size.macs(quantized.file)


def test_logits_stay_close_whatever_computes_them(pair, digits):
    quantized, images = pair[1], images_of(digits)
    before, after = (session(file.content, 1)(images) for file in pair)
    assert np.abs(before - after).max() < 0.06 * np.ptp(before)
    assert (before.argmax(1) == after.argmax(1)).mean() > 0.9
    defined = ReferenceEvaluator(quantized.file).run(None, {"images": images[:4]})[0]
    assert np.allclose(after[:4], defined, atol=0.02 * np.ptp(before))  # a rounding of half a step can go either way


def test_logits_are_not_rounded_to_a_grid(pair, digits):
    logits = session(pair[1].content, 1)(images_of(digits))
    assert len(np.unique(logits)) > 256


def test_a_batch_does_not_change_what_an_image_is(pair, digits):
    """As dynamic quantization does, whose ranges are those of a batch."""
    run, images = session(pair[1].content, 1), images_of(digits, 8)
    assert np.array_equal(run(images), np.concatenate([run(one[None]) for one in images]))


def test_seven_bits_leave_no_room_for_saturation(pair):
    for tensor in pair[1].file.graph.initializer:
        weight = numpy_helper.to_array(tensor)
        if weight.dtype == np.int8 and weight.ndim > 1:
            assert np.abs(weight.astype(int)).max() <= 64


def test_pixels_are_taken_as_they_are_and_nothing_is_unfolded(pair):
    nodes = [node.op_type for node in pair[1].file.graph.node]
    assert not {"Sub", "Div"}.intersection(nodes)
    assert nodes[-1] == "Gemm"


@pytest.mark.parametrize("ranges", ["percentile", "entropy"])
def test_other_ranges(digits, ranges):
    plain = export(used("cnn", digits), digits.shape)
    made = Artifact(replace(ALL, ranges=ranges, percentile=99.0)(plain, task_of(digits)))
    images = images_of(digits)
    before, after = session(Artifact(plain).content, 1)(images), session(made.content, 1)(images)
    assert (before.argmax(1) == after.argmax(1)).mean() > 0.8


def test_entropy_cuts_off_what_is_rare(digits):
    plain = export(used("cnn", digits), digits.shape)
    steps = [largest_step(replace(ALL, ranges=one)(plain, task_of(digits))) for one in ("entropy", "minmax")]
    assert steps[0] < steps[1]


def test_a_narrower_range_is_a_finer_grid(digits):
    plain = export(used("cnn", digits), digits.shape)
    steps = [largest_step(replace(ALL, ranges="percentile", percentile=p)(plain, task_of(digits))) for p in (90, 100)]
    assert steps[0] < steps[1]


def largest_step(file):
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in file.graph.initializer}
    return max(float(stored[n.input[1]]) for n in file.graph.node if n.op_type == "QuantizeLinear")


def test_ranges_are_of_training_images_and_of_no_others(digits):
    plain = export(used("cnn", digits), digits.shape)
    made = ALL(plain, task_of(digits)).SerializeToString(deterministic=True)

    def blank(split):
        return replace(split, images=torch.zeros_like(split.images))

    others = replace(digits, val=blank(digits.val), test=blank(digits.test))
    assert ALL(plain, task_of(others)).SerializeToString(deterministic=True) == made
    later = digits.train.images.clone()
    later[64:] = 0
    same = replace(digits, train=replace(digits.train, images=later))
    assert ALL(plain, task_of(same)).SerializeToString(deterministic=True) == made
    dark = replace(digits, train=blank(digits.train))
    assert ALL(plain, task_of(dark)).SerializeToString(deterministic=True) != made


def test_layers_that_are_named_stay_float(digits):
    plain = export(used("cnn", digits), digits.shape)
    first, *others = [layer.source for layer in layers(plain)]
    made = replace(ALL, in_float=[first.removeprefix("1.").removesuffix(".weight")])(plain, task_of(digits))
    kinds = {tensor.name: tensor.data_type for tensor in made.graph.initializer}
    assert kinds[first] == TensorProto.FLOAT
    assert [kinds[layer.source] for layer in layers(made)[1:]] == [TensorProto.INT8] * len(others)


def test_unless_layers_are_named_the_faster_form_is_taken(digits):
    plain = export(used("cnn", digits), digits.shape)
    asked = []

    def race(number):
        def fastest(files, than):
            asked.append((len(files), than))
            return number

        return fastest

    forms = [
        replace(ALL, in_float=None)(plain, replace(task_of(digits), fastest=race(number))).SerializeToString()
        for number in (0, 1)
    ]
    assert asked == [(2, plain)] * 2
    assert forms[0] == ALL(plain, task_of(digits)).SerializeToString() != forms[1]


def scales_of(file):
    """How many scales the weights of each layer have."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in file.graph.initializer}
    scales = {node.input[0]: stored[node.input[1]] for node in file.graph.node if node.op_type == "DequantizeLinear"}
    return [scales[layer.source].size for layer in layers(file)]


def test_one_scale_a_layer_for_linear_layers_but_the_last(digits):
    plain = export(used("mlp", digits), digits.shape)
    widths = scales_of(ALL(plain, task_of(digits)))
    made = replace(ALL, linear_scales=LAYER)(plain, task_of(digits))
    assert min(widths) > 1
    assert scales_of(made) == [1] * (len(widths) - 1) + [10]
    *first, _ = [layer.source for layer in layers(plain)]
    assert one_scale_layers(made) == [layer_name(source) for source in first]
    assert one_scale_layers(plain) == one_scale_layers(ALL(plain, task_of(digits))) == []
    before, after = (session(file.SerializeToString(), 1)(images_of(digits)) for file in (plain, made))
    assert np.abs(before - after).max() < 0.1 * np.ptp(before)
    conv = export(used("cnn", digits), digits.shape)
    assert scales_of(replace(ALL, linear_scales=LAYER)(conv, task_of(digits))) == scales_of(
        ALL(conv, task_of(digits))
    )


def both_ways(digits, *orientations):
    """A file whose one weight is multiplied with as it is (0), or transposed (1), as often as is said."""
    weight = np.random.default_rng(0).normal(size=(10, 10)).astype(np.float32)
    weight *= np.geomspace(1, 8, 10, dtype=np.float32)[:, None]  # outputs that scales of others would not fit
    nodes = [
        helper.make_node("ReduceMax", ["images"], ["rows"], axes=[1, 3], keepdims=0),
        helper.make_node("Slice", ["rows", "from", "to", "along"], ["x0"]),
    ]
    stored = {"0.weight": weight, "from": np.array([9]), "to": np.array([19]), "along": np.array([1])}
    for number, turned in enumerate(orientations):
        given = f"x{number}"
        if number:
            nodes.append(helper.make_node("Relu", [f"y{number}"], [given]))
        nodes.append(helper.make_node("Gemm", [given, "0.weight"], [f"y{number + 1}"], transB=turned))
    nodes[-1].output[0] = "logits"
    ends = [
        helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", *digits.shape]),
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10]),
    ]
    tensors = [numpy_helper.from_array(values, name) for name, values in stored.items()]
    graph = helper.make_graph(nodes, "both", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("scales", [OUTPUT, LAYER, None])
def test_a_weight_that_is_used_both_ways_has_one_scale(digits, scales):
    """ONNX Runtime would take scales of its outputs along the axis of its inputs, where it fuses the layer."""
    file, images = both_ways(digits, 0, 1, 0), images_of(digits)
    task = replace(task_of(digits), fastest=lambda files, than: len(files) - 1)
    made = replace(ALL, linear_scales=scales)(file, task)
    assert scales_of(made) == [1] * 3
    assert one_scale_layers(made) == ["0"]
    before = session(file.SerializeToString(), 1)(images)
    for level in (GraphOptimizationLevel.ORT_ENABLE_ALL, GraphOptimizationLevel.ORT_DISABLE_ALL):
        options = SessionOptions()
        options.graph_optimization_level = level
        run = InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
        after = run.run(None, {"images": images})[0]
        assert np.abs(before - after).max() < 0.05 * np.ptp(before)


def test_a_layer_that_is_called_twice_is_one_layer_that_cannot_stay_float_alone(digits):
    file = both_ways(digits, 1, 1)
    assert [form.in_float for form in replace(ALL, in_float=None).forms(file)] == [[]]
    assert scales_of(ALL(file, task_of(digits))) == [10] * 2


@pytest.mark.parametrize(("outlier", "raced"), [(1, 2), (100, 0)])
def test_one_scale_is_not_tried_where_rounding_would_lose_much(digits, outlier, raced):
    network = used("mlp", digits)
    with torch.no_grad():
        for parameter in list(network.parameters())[:-2]:
            if parameter.ndim == 2:
                parameter[0, 0] = outlier * parameter.abs().max()
    asked = []
    task = replace(task_of(digits), fastest=lambda files, than: asked.append(len(files)) or 0)
    replace(ALL, linear_scales=None)(export(network, digits.shape), task)
    assert sum(asked) == raced


def test_the_loss_of_rounding_is_that_of_an_even_spread():
    """Of weights spread evenly over [-m, m]: step^2 / 12 of m^2 / 3, with step = m / 2^(bits - 1)."""
    weights = np.linspace(-3, 3, 100_001)
    assert squares_lost(weights, 7) == pytest.approx(0.25 / 64**2, rel=0.01)
    assert squares_lost(np.zeros(4), 7) == 0


@pytest.mark.parametrize(
    ("knobs", "says"),
    [
        ({"in_float": ["3"]}, "compress.in_float: there is no layer 3: choose from 0, 4, 9"),
        ({"in_float": ["0", "4", "9"]}, "leaves no layer"),
        ({"in_float": [0, 4, 9]}, "leaves no layer"),
        ({"in_float": "04"}, "compress.in_float=04 is not a list"),
        ({"images": 0}, "compress.images"),
        ({"ranges": "max"}, "compress.ranges"),
        ({"percentile": 50}, "compress.percentile"),
        ({"weight_bits": 4}, "compress.weight_bits"),
        ({"linear_scales": "channel"}, "compress.linear_scales"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_said(digits, knobs, says):
    with pytest.raises(BadSetting, match=says):
        replace(ALL, **knobs)(export(used("cnn", digits), digits.shape), task_of(digits))
