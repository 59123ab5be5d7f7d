"""A network of another tool, given as an ONNX file."""

import copy
import re

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from tests.models.onnx_files import CLASSES, SHAPE, linear, weights, write

from kdbench.artifact.export import export
from kdbench.artifact.file import Artifact
from kdbench.artifact.session import session
from kdbench.compress.quantize.weight_only import WeightOnly
from kdbench.errors import BadSetting, CannotCount
from kdbench.evaluation.weights import float_layers
from kdbench.models.network import build, parameters
from kdbench.models.pretrained import load_weights
from kdbench.settings import identity

NODE = {"_target_": "kdbench.models.onnx_file.OnnxFile"}
OF_THE_DATA = ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
IMAGES = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(0))
LOGITS = IMAGES.flatten(1) @ torch.from_numpy(weights())


def given(path, shape=SHAPE, classes=CLASSES, statistics=OF_THE_DATA, normalise="data"):
    network = build(NODE, 0, shape, classes, statistics).eval()
    load_weights(network, path, normalise=normalise)
    return network


FORMS = {
    "channels first": linear(),
    "channels last": linear((8, 8, 3), order=(0, 3, 1, 2)),
    "free sizes": linear((3, "h", "w")),
    "a fixed batch": linear(batch=1),
    "a softmax at the end": linear(end="Softmax"),
    "an identity at the end": linear(end="Identity"),
    "old operators": linear(opset=11),
}


@pytest.mark.parametrize("form", FORMS)
def test_whatever_its_form_a_file_gives_the_logits_of_its_layer(form, tmp_path):
    network = given(write(tmp_path / "net.onnx", FORMS[form]))
    assert torch.allclose(network(IMAGES), LOGITS, atol=1e-4)


def test_numbers_in_a_row_are_taken_where_channels_leave_no_choice(tmp_path):
    matrix = weights(0, 64)
    path = write(tmp_path / "net.onnx", linear((64,), matrix=matrix))
    images = IMAGES[:, :1]
    network = given(path, (1, 8, 8), statistics=((0.1,), (0.5,)))
    assert torch.allclose(network(images), images.flatten(1) @ torch.from_numpy(matrix), atol=1e-4)


@pytest.mark.parametrize("kind", [np.float32, np.float16])
@pytest.mark.parametrize("form", ["constant", "stored", "an input too"])
def test_weights_that_nodes_hold_or_make_of_16_bits_are_stored_in_float32(form, kind, tmp_path):
    file, half = linear(), weights().astype(kind)
    graph = file.graph
    del graph.initializer[:]
    tensor = numpy_helper.from_array(half, "given")
    if form == "constant":
        graph.node.insert(0, helper.make_node("Constant", [], ["given"], value=tensor))
    else:
        graph.initializer.append(tensor)
    if form == "an input too":  # as files of before version 4 of ONNX have it
        file.ir_version = 3
        graph.input.append(helper.make_tensor_value_info("given", tensor.data_type, half.shape))
    graph.node.insert(len(graph.node) - 1, helper.make_node("Cast", ["given"], ["w"], to=TensorProto.FLOAT))
    network = given(write(tmp_path / "net.onnx", file))
    logits = IMAGES.flatten(1) @ torch.from_numpy(half.astype(np.float32))
    assert torch.allclose(network(IMAGES), logits, atol=1e-4)
    assert parameters(network) == weights().size
    made = WeightOnly(4, None)(export(network, SHAPE), None)
    assert float_layers(export(network, SHAPE)) == float_layers(made) == []
    assert {tensor.data_type for tensor in made.graph.initializer if len(tensor.dims) == 2} >= {TensorProto.INT4}


def test_only_what_is_used_is_counted_and_no_running_statistics(tmp_path):
    file = linear()
    graph = file.graph
    for name in ("scale", "shift", "mean", "variance", "of nobody"):
        graph.initializer.append(onnx.numpy_helper.from_array(np.ones(CLASSES, np.float32), name))
    graph.node.append(helper.make_node("BatchNormalization", ["sums", "scale", "shift", "mean", "variance"], ["end"]))
    graph.output[0].name = "end"
    assert parameters(given(write(tmp_path / "net.onnx", file))) == 192 * CLASSES + 2 * CLASSES


def test_it_ships_as_it_stands_or_behind_the_normalisation_that_is_typed(tmp_path):
    path = write(tmp_path / "net.onnx", linear())
    plain = Artifact(export(given(path), SHAPE))
    assert np.allclose(session(plain.content, 1)(IMAGES.numpy()), LOGITS, atol=1e-4)
    assert [node.op_type for node in plain.file.graph.node] == ["Flatten", "MatMul"]
    normalised = given(path, normalise="0.1,0.2,0.3/0.5,0.6,0.7")
    file = Artifact(export(normalised, SHAPE))
    assert np.allclose(session(file.content, 1)(IMAGES.numpy()), normalised(IMAGES), atol=1e-4)
    assert not torch.allclose(normalised(IMAGES), LOGITS, atol=0.1)


def test_its_floating_point_numbers_are_its_parameters(tmp_path):
    assert parameters(given(write(tmp_path / "net.onnx", linear()))) == 192 * CLASSES


def test_a_copy_is_the_same_network_and_gradients_end_at_it(tmp_path):
    network = copy.deepcopy(given(write(tmp_path / "net.onnx", linear())))
    logits = network(IMAGES.clone().requires_grad_())
    assert torch.allclose(logits, LOGITS, atol=1e-4)
    assert not logits.requires_grad


@pytest.mark.parametrize("name", ["net.onnx", "net.pb", "net.ONNX"])
def test_weights_beside_the_file_are_read_and_are_part_of_what_it_is(tmp_path, name):
    path = tmp_path / name

    def save(matrix):
        options = {"save_as_external_data": True, "location": f"{name}.data", "size_threshold": 0}
        (tmp_path / f"{name}.data").unlink(missing_ok=True)
        onnx.save(linear(matrix=matrix), path, **options)
        return dict(identity.files_in(path))[str(path)]

    before = save(weights())
    assert torch.allclose(given(path)(IMAGES), LOGITS, atol=1e-4)
    assert save(weights(1)) != before
    (tmp_path / f"{name}.data").unlink()
    with pytest.raises(BadSetting, match=re.escape(f"{name}.data")):
        given(path)


def test_of_two_softmaxes_the_first_is_no_end_and_its_probabilities_no_logits(tmp_path):
    file = linear(end="Softmax")
    file.graph.node.append(helper.make_node("Softmax", ["ended"], ["again"]))
    file.graph.output[0].name = "again"
    with pytest.raises(BadSetting, match="look like probabilities"):
        given(write(tmp_path / "net.onnx", file))


def test_weights_that_are_whole_numbers_are_not_counted_as_none(tmp_path):
    file = linear()
    signs = np.sign(weights()).astype(np.int8)
    del file.graph.initializer[:]
    file.graph.initializer.append(onnx.numpy_helper.from_array(signs, "signs"))
    file.graph.node.insert(0, helper.make_node("Cast", ["signs"], ["w"], to=TensorProto.FLOAT))
    with pytest.raises(CannotCount, match="whole numbers behind a Cast"):
        parameters(given(write(tmp_path / "net.onnx", file)))


def two(kind):
    file = linear()
    values = getattr(file.graph, kind)
    values.append(helper.make_tensor_value_info("y" if kind == "input" else "flat", TensorProto.FLOAT, ["n", 192]))
    return file


def grey_levels():
    file = linear(kind=TensorProto.UINT8)
    file.graph.node[0].input[0] = "numbers"
    file.graph.node.insert(0, helper.make_node("Cast", ["x"], ["numbers"], to=TensorProto.FLOAT))
    return file


def positive():
    """Ends in probabilities that no softmax makes: shares of sums of magnitudes."""
    file = linear(matrix=np.abs(weights()))
    graph = file.graph
    axes = onnx.numpy_helper.from_array(np.array([1]), "axes")
    graph.initializer.append(axes)
    graph.node.append(helper.make_node("ReduceSum", ["sums", "axes"], ["total"], keepdims=1))
    graph.node.append(helper.make_node("Div", ["sums", "total"], ["shares"]))
    graph.output[0].name = "shares"
    return file


def among_others():
    """Takes the mean over the batch away."""
    file = linear()
    graph = file.graph
    graph.node.append(helper.make_node("ReduceMean", ["sums"], ["mean"], axes=[0], keepdims=1))
    graph.node.append(helper.make_node("Sub", ["sums", "mean"], ["centred"]))
    graph.output[0].name = "centred"
    return file


def softmax_over_the_batch():
    file = linear(end="Softmax")
    file.graph.node[-1].attribute.append(helper.make_attribute("axis", 0))
    return file


def not_finite():
    matrix = weights()
    matrix[0, 0] = np.nan
    return linear(matrix=matrix)


def quantized():
    file = linear()
    graph = file.graph
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(0.5, np.float32), "scale"))
    graph.node.insert(0, helper.make_node("QuantizeLinear", ["x", "scale"], ["integers"]))
    graph.node.insert(1, helper.make_node("DequantizeLinear", ["integers", "scale"], ["again"]))
    graph.node[2].input[0] = "again"
    return file


BAD = {
    "leaves open where the 3 channels are": linear((192,)),
    r"input, \?x\?x\?, leaves open": linear(("c", "h", "w")),
    "look like probabilities|when others are beside it": softmax_over_the_batch(),
    "not finite": not_finite(),
    "is quantized already": quantized(),
    r"takes images of 3x64x64, these are 3x8x8: .*data\.size=64": linear((3, 64, 64), matrix=weights(0, 12288)),
    r"takes images of 1x8x8, .*data\.channels=1": linear((1, 8, 8), matrix=weights(0, 64)),
    "gives 7 logits: the data have 4 classes": linear(matrix=weights(0, 192, 7)),
    "has 2 inputs": two("input"),
    "has 2 outputs": two("output"),
    "is uint8: kdbench gives float32": grey_levels(),
    "look like probabilities": positive(),
    "before the softmax or sigmoid": linear(end="Sigmoid"),
    "when others are beside it": among_others(),
}


@pytest.mark.parametrize("message", BAD)
def test_what_is_no_such_network_is_said_in_one_line(message, tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(BAD[message].SerializeToString())
    with pytest.raises(BadSetting, match=message) as error:
        given(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x08" * 9])
def test_what_is_no_onnx_file_is_refused(content, tmp_path):
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(BadSetting, match=r"net\.onnx"):
        given(tmp_path / "net.onnx")
