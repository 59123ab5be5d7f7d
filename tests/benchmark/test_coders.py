"""The comparison of coders, without the peers."""

import numpy as np
from benchmark.coders import Packed, table
from onnx import TensorProto, helper, numpy_helper

from benchmark import coders

RANDOM = np.random.default_rng(0)


def file_of(**tensors):
    """An ONNX file that holds these tensors and does nothing with them."""
    stored = [numpy_helper.from_array(values, name) for name, values in tensors.items()]
    through = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    node = helper.make_node("Identity", ["x"], ["y"])
    return helper.make_model(helper.make_graph([node], "g", [through], [out], stored))


def test_planes_are_the_bytes_of_the_numbers_the_highest_first():
    values = np.array([1.5, -2.25, 3.0], np.float32)
    planes = coders.planes(file_of(w=values))
    assert planes == values.view(np.uint8).reshape(3, 4)[:, ::-1].T.tobytes()


def test_whole_numbers_are_counted_alone(monkeypatch):
    monkeypatch.setattr(coders, "there", lambda module: False)
    floats = RANDOM.normal(size=1000).astype(np.float32)
    whole = RANDOM.integers(-8, 8, 4000).astype(np.int8)
    alone, none = coders.whole_numbers(file_of(w=whole))
    assert none is None
    assert coders.whole_numbers(file_of(w=whole, f=floats)) == (alone, None)
    assert coders.whole_numbers(file_of(f=floats)) is None
    assert 2000 <= alone < 2150  # 16 equally frequent numbers: 4 bits each


def test_the_table_has_a_row_a_file_and_leaves_out_what_there_is_not():
    files = [
        Packed("mlp int8", 2000, {"kdz": 900, "xz": 1000}, (700, 710), 0.012, 0.003),
        Packed("mlp float", 4000, {"kdz": 3500, "xz": 3600}, None, 0.02, 0.004),
    ]
    lines = table(files).splitlines()
    assert lines[2] == "| mlp int8 | 2,000 | 900 | 1,000 | 700 | 710 | 12 ms | 3 ms |"
    assert lines[3] == "| mlp float | 4,000 | 3,500 | 3,600 |  |  | 20 ms | 4 ms |"
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|")
