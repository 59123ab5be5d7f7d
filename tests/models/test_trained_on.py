"""Given weights, and the classes that they were trained on."""

import json
import logging

import pytest
from tests.models.onnx_files import linear
from torch import nn

from kdbench.errors import BadSetting
from kdbench.models.trained_on import CLASSES, classes_in, require_classes, require_to_teach
from kdbench.models.weights_file import written

NAMES = ["bag", "coat", "shoe"]


@pytest.fixture(params=["weights.safetensors", "model.onnx"])
def path(request, tmp_path):
    place = tmp_path / request.param
    if place.suffix == ".onnx":
        file = linear()
        file.metadata_props.add(key=CLASSES, value=json.dumps(NAMES))
        place.write_bytes(file.SerializeToString())
    else:
        place.write_bytes(written(nn.Linear(2, 3), class_names=NAMES))
    return place


def test_the_same_classes_are_taken_and_another_order_of_them_is_refused(path, caplog):
    require_classes(path, tuple(NAMES))
    assert not caplog.messages
    with pytest.raises(BadSetting, match=r"in another order \(coat where the data have shoe, shoe where"):
        require_classes(path, ("bag", "shoe", "coat"))


def test_other_names_are_a_warning(path, caplog):
    with caplog.at_level(logging.WARNING):
        require_classes(path, ("bag", "coats", "shoe"))
    assert "were trained on other classes: coat where the data have coats" in caplog.text


@pytest.mark.parametrize("names", [("bag", "coats", "shoe"), ("bag", "coat"), ("0", "1", "2", "3")])
def test_a_teacher_of_other_classes_is_refused(path, names):
    with pytest.raises(BadSetting, match=r"was trained on 3 classes \(bag, coat, shoe, \.\.\.\), and the data have"):
        require_to_teach(path, names)
    require_to_teach(path, NAMES)


def test_files_that_name_no_classes_are_taken_as_they_are(tmp_path):
    (tmp_path / "weights").write_bytes(written(nn.Linear(2, 3)))
    (tmp_path / "rubbish.onnx").write_bytes(b"rubbish")
    for name in ("weights", "rubbish.onnx", "nothing"):
        assert classes_in(tmp_path / name) is None
        require_classes(tmp_path / name, NAMES)
        require_to_teach(tmp_path / name, NAMES)
