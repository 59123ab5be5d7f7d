"""A file as a function of images of any kind."""

import math
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

from kdbench.artifact.classifier import BATCH, as_pixels, classifier
from kdbench.artifact.file import Artifact
from kdbench.artifact.metadata import LIGHT_ON_DARK, Description, with_metadata
from kdbench.artifact.session import session
from kdbench.compress.quantize.dynamic_int8 import DynamicInt8
from kdbench.compress.step import no_fit
from kdbench.errors import BadSetting, DamagedFile
from kdbench.evaluation import predictions
from kdbench.storage import checksums

NAMES = tuple("abcdefghij")


def linear(shape, classes) -> onnx.ModelProto:
    """A file of one layer: nothing is exported here, which takes seconds."""
    weights = np.random.default_rng(0).normal(size=(math.prod(shape), classes)).astype(np.float32)
    nodes = [make_node("Flatten", ["images"], ["flat"]), make_node("MatMul", ["flat", "weights"], ["logits"])]
    inputs = [make_tensor_value_info("images", TensorProto.FLOAT, ["batch", *shape])]
    outputs = [make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])]
    graph = make_graph(nodes, "main", inputs, outputs, [onnx.numpy_helper.from_array(weights, "weights")])
    return make_model(graph, opset_imports=[make_opsetid("", 18)], ir_version=9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The folder of a run of int8, as far as it is looked at here."""
    folder = tmp_path_factory.mktemp("run")
    file = DynamicInt8()(linear((1, 28, 28), 10), no_fit)
    content = Artifact(with_metadata(file, Description(NAMES, LIGHT_ON_DARK, 0.0), None)).content
    (folder / "model.onnx").write_bytes(content)
    (folder / "SHA256SUMS").write_bytes(checksums.sums({"model.onnx": content}))
    return folder


@pytest.fixture(scope="module")
def network(folder):
    return classifier(folder)


@pytest.fixture
def images(digits):
    return digits.test.images[:: 1000 // 300]


def test_logits_are_those_that_the_row_was_measured_by(network, folder, digits):
    run = session((folder / "model.onnx").read_bytes(), 1)
    assert BATCH == predictions.BATCH
    assert np.array_equal(network(digits.test.images), predictions.predict(run, digits.test))


def test_every_kind_of_array_gives_the_same_logits(network, images):
    expected = network(images)
    assert (expected.dtype, expected.shape) == (np.float32, (len(images), 10))
    scaled = images.float() / 255
    kinds = [images.numpy(), images[:, 0], scaled, scaled.numpy(), scaled.requires_grad_(), scaled.double()]
    for kind in kinds:
        assert np.array_equal(network(kind), expected)
    assert np.allclose(network(scaled.half()), expected, atol=0.05)
    assert network(scaled.bfloat16()).shape == expected.shape


def test_one_image_may_come_alone(network, images):
    expected = network(images[:1])
    for one in (images[0], images[0, 0], images[0].numpy(), images[:1, 0]):
        assert np.array_equal(network(one), expected)
    assert network(images[:0]).shape == (0, 10)


def test_a_prediction_is_the_most_likely_class_and_its_probabilities(network, images):
    classes, probabilities = network.predict(images)
    assert np.array_equal(classes, network(images).argmax(1))
    assert np.allclose(probabilities.sum(1), 1)
    assert np.array_equal(probabilities.argmax(1), classes)
    assert [network.class_names[index] for index in classes[:2]] == [NAMES[index] for index in classes[:2]]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 3, 28, 28), np.uint8), r"of shape \(2, 3, 28, 28\): the network takes \(n, 1, 28, 28\)"),
        (np.zeros((28, 28, 1), np.uint8), "the images are of shape"),
        (np.zeros(784, np.uint8), "the images are of shape"),
        (np.zeros((1, 28, 28), np.int64), "the images are int64: give uint8"),
        (np.zeros((28, 28), bool), "the images are bool"),
        (np.full((28, 28), 255.0), "the images reach from 255 to 255: give floats in"),
        (np.full((28, 28), -0.1), "the images reach from -0.1 to -0.1"),
        (np.full((28, 28), np.nan), "the images reach from nan to nan"),
        (np.full((28, 28), np.inf, np.float16), "the images reach from inf to inf"),
        (None, "the images are of shape"),
        ([[1, 2], [3]], "the images are no array"),
    ],
)  # fmt: skip
def test_what_is_no_image_is_refused_in_one_line(network, images, message):
    with pytest.raises(BadSetting, match=message) as refused:
        network(images)
    assert len(str(refused.value).splitlines()) == 1


def test_colours_may_come_alone_too():
    assert as_pixels(np.zeros((3, 32, 48), np.uint8), (3, 32, 48)).shape == (1, 3, 32, 48)
    with pytest.raises(BadSetting, match="of shape"):
        as_pixels(np.zeros((32, 48), np.uint8), (3, 32, 48))


def test_a_file_is_read_wherever_it_lies(network, folder, tmp_path, images):
    copy = shutil.copy(folder / "model.onnx", tmp_path / "mine.onnx")
    alone = classifier(copy)
    assert (alone.path, alone.class_names, alone.shape, alone.polarity) == (
        *(Path(copy), NAMES, (1, 28, 28), LIGHT_ON_DARK),
    )
    assert np.array_equal(alone(images), network(images))
    assert network.path == folder / "model.onnx"


def test_a_damaged_file_is_named(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "run")
    path = tmp_path / "run" / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    for place in (path, path.parent):
        with pytest.raises(DamagedFile, match=r"model.onnx: its checksum is not the one in SHA256SUMS"):
            classifier(place)


def test_what_is_no_file_of_kdbench_is_refused_in_one_line(tmp_path):
    flat = linear((192,), 10)
    cases = {"it is no file of kdbench": flat.SerializeToString(), "it is not an ONNX model": b"\xff" * 50}
    for message, content in cases.items():
        (tmp_path / "model.onnx").write_bytes(content)
        with pytest.raises(DamagedFile, match=message):
            classifier(tmp_path / "model.onnx")


def test_a_place_without_a_network_is_refused_with_what_to_give(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(BadSetting, match="give the folder of one run, such as outputs/runs/mnist/NAME"):
            classifier(str(place))


def test_other_shapes_and_names_of_one_class_less(tmp_path):
    shape, classes = (3, 32, 48), 7
    file = linear(shape, classes)
    path = tmp_path / "model.onnx"
    path.write_bytes(Artifact(file).content)
    assert classifier(path).shape == shape
    assert len(classifier(path).class_names) == classes
    path.write_bytes(Artifact(with_metadata(file, Description(NAMES[: classes - 1], "mixed", 0), None)).content)
    with pytest.raises(DamagedFile, match=f"do not name {classes} classes"):
        classifier(path)
