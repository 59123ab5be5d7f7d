"""What a file says of itself."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from kdbench.artifact.metadata import (
    DARK_ON_LIGHT,
    LIGHT_ON_DARK,
    MIXED,
    PREFIX,
    Description,
    brightness_of_borders,
    ground,
    read,
    with_metadata,
)
from kdbench.errors import DamagedFile

DATA = Description(("cat", "dog"), LIGHT_ON_DARK, 0.012)


@pytest.fixture
def file():
    """A file of two classes without metadata of ours: all that is looked at here is its input."""
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 32, 48])
    graph = helper.make_graph([], "main", [images], [])
    return helper.make_model(graph)


def texts(file):
    return {entry.key: entry.value for entry in file.metadata_props}


def test_what_is_written_is_what_is_read(file):
    described = with_metadata(file, DATA, ([0.5, 1 / 3, 0], [1, 0.25, 1]))
    assert read(described, 2) == DATA
    assert texts(described) == {
        "kdbench.classes": '["cat","dog"]',
        "kdbench.input": "float32 in [0, 1], batch x 3 x 32 x 48",
        "kdbench.normalisation": '{"means":[0.5,0.333333,0.0],"deviations":[1.0,0.25,1.0]}',
        "kdbench.polarity": "light on dark",
        "kdbench.border": "0.012",
    }
    assert not file.metadata_props


def test_it_replaces_what_stood_there_of_ours_and_keeps_the_rest(file):
    file.metadata_props.add(key="theirs", value="x")
    once = with_metadata(file, Description(("a", "b"), MIXED, 0.5), None)
    twice = with_metadata(once, DATA, None)
    assert read(twice, 2) == DATA
    assert texts(twice)["theirs"] == "x"
    assert len(twice.metadata_props) == 5
    assert with_metadata(file, DATA, None).SerializeToString() == twice.SerializeToString()


def test_names_of_any_characters_come_back(file):
    names = ("T-shirt/top", 'a "quote"', "日本", "\x1b[31m", "")
    assert read(with_metadata(file, Description(names, MIXED, 0), None), 5).class_names == names
    assert read(with_metadata(file, Description(("\udc80",), MIXED, 0), None), 1).class_names == ("?",)


def test_a_file_without_metadata_has_numbers_for_names(file):
    assert read(file, 3).class_names == ("0", "1", "2")
    assert read(file, 3).polarity == MIXED


@pytest.mark.parametrize("text", ['["a"]', '{"a":"b"}', "[1,2]", "[", "[" * 10_000, "", "null"])
def test_metadata_that_kdbench_never_writes_are_refused(file, text):
    file.metadata_props.add(key=f"{PREFIX}classes", value=text)
    with pytest.raises(DamagedFile, match="its metadata"):
        read(file, 2)


def test_a_thousand_long_names_weigh_what_their_letters_do(file):
    names = tuple(f"{number:060d}" for number in range(1000))
    described = with_metadata(file, Description(names, MIXED, 0), None)
    assert described.ByteSize() - file.ByteSize() < len(json.dumps(names)) + 200


def test_digits_are_light_on_dark_and_inverted_ones_dark_on_light(digits, colours):
    images = digits.train.images.numpy()
    assert Description.of(images, digits.class_names).polarity == LIGHT_ON_DARK
    inverted = Description.of(255 - images, digits.class_names)
    assert (inverted.polarity, inverted.border) == (DARK_ON_LIGHT, 1.0)
    half = np.concatenate([images[:100], 255 - images[:100]])
    assert Description.of(half, digits.class_names).polarity == MIXED


def test_a_border_is_the_outermost_pixels_of_all_channels():
    image = np.full((1, 2, 4, 5), 255, np.uint8)
    image[:, :, 1:-1, 1:-1] = 0
    assert brightness_of_borders(image) == [1.0]
    image[:, 0] = 0
    assert brightness_of_borders(image) == [0.5]
    assert brightness_of_borders(image[:, :, :1, :1]) == [0.5]  # all of it


@pytest.mark.parametrize(("level", "said"), [(0, "dark"), (80, "dark"), (90, None), (165, None), (175, "light")])
def test_a_ground_is_dark_or_light_where_that_is_plain(level, said):
    assert ground(np.full((1, 8, 8), level, np.uint8)) == said


def test_the_metadata_are_no_part_of_what_is_computed(file):
    assert onnx.ModelProto.FromString(with_metadata(file, DATA, None).SerializeToString()).graph == file.graph
