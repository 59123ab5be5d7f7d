"""`model.kdz`: the file comes back byte for byte, and what is damaged does not come back at all."""

import random
import tracemalloc

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from tests.compress.tasks import task_of, used

from kdbench.artifact.export import export
from kdbench.artifact.file import Artifact
from kdbench.artifact.packing import kdz
from kdbench.compress.quantize.clusters import Clusters
from kdbench.compress.quantize.dynamic_int8 import DynamicInt8
from kdbench.compress.quantize.weight_only import WeightOnly
from kdbench.errors import DamagedFile

DAMAGES = 500  # of each form: 2,000
FORMS = {
    "float": None,
    "4 bits": WeightOnly(bits=4, group=None),
    "clusters": Clusters(16),
    "int8": DynamicInt8(),
}


@pytest.fixture(scope="module")
def content(digits) -> bytes:
    return Artifact(export(used("cnn", digits), digits.shape)).content


@pytest.fixture(scope="module")
def packed(content) -> bytes:
    return kdz.pack(content)


@pytest.fixture(scope="module", params=FORMS)
def form(request, digits) -> bytes:
    """A file with nine zeros of ten weights, in each form that weights are stored in."""
    network = used("cnn", digits)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1 and request.param != "float":
                parameter *= torch.rand(parameter.shape, generator=torch.Generator().manual_seed(0)) < 0.1
    file, step = export(network, digits.shape), FORMS[request.param]
    return Artifact(step(file, task_of(digits)) if step else file).content


def stores(tensors: list[TensorProto], **of_the_model) -> bytes:
    """A valid model of nothing but its input, which stores some tensors."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, ["n", 3])],
        [value("y", TensorProto.FLOAT, ["n", 3])],
        tensors,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)], ir_version=13, **of_the_model)
    return made.SerializeToString(deterministic=True)


def test_the_file_comes_back_byte_for_byte_and_smaller(content, packed):
    assert kdz.unpack(packed) == content
    assert len(packed) < 0.9 * len(content)


@pytest.mark.parametrize("kind", sorted(kdz.numbers.BITS), ids=TensorProto.DataType.Name)
@pytest.mark.parametrize("shape", [(), (1,), (3,), (7, 5), (2, 3, 1, 11), (0, 4), (400, 3)])
@pytest.mark.parametrize("filled", ["at random", "zeros", "mostly zeros", "few values"])
def test_every_type_and_number_comes_back(kind, shape, filled):
    drawn, bits = np.random.default_rng(0), kdz.numbers.BITS[kind]
    size = (int(np.prod(shape)) * bits + 7) // 8
    raw = drawn.integers(0, 2 if kind == TensorProto.BOOL else 256, size, np.uint8)
    if filled == "zeros":
        raw[:] = 0
    elif filled == "mostly zeros":
        raw[drawn.random(size) < 0.95] = 0
    elif filled == "few values":
        raw = np.resize(raw[: max(1, bits // 8) * 3], size)
    over = int(np.prod(shape)) * bits % 8
    if over and size:
        raw[-1] &= (1 << over) - 1  # what no number needs is zero
    stored = TensorProto(name="t", data_type=kind, dims=shape, raw_data=raw.tobytes())
    content = stores([stored])
    assert kdz.unpack(kdz.pack(content)) == content


def test_numbers_that_are_written_out_come_back_as_numbers():
    one = helper.make_tensor("a", TensorProto.FLOAT, [3], [1.0, -2.0, 0.5])
    names = helper.make_tensor("b", TensorProto.STRING, [1], [b"name"])
    back = onnx.load_model_from_string(kdz.unpack(kdz.pack(stores([one, names]))))
    assert numpy_helper.to_array(back.graph.initializer[0]).tolist() == [1.0, -2.0, 0.5]
    assert back.graph.initializer[1].string_data == [b"name"]


def test_zeros_and_repeated_numbers_take_what_their_entropy_says():
    drawn = np.random.default_rng(0)
    count, share = 40_000, 0.1
    there = drawn.random(count) < share
    sparse = np.where(there, drawn.normal(size=count), 0).astype(np.float32)
    entropy = -(share * np.log2(share) + (1 - share) * np.log2(1 - share)) * count / 8
    taken = len(kdz.pack(stores([numpy_helper.from_array(sparse, "t")])))
    assert taken < 1.02 * (entropy + 4 * there.sum())
    four = drawn.choice(np.float32([0.1, -0.7, 2.0, 9.0]), count, p=[0.5, 0.25, 0.125, 0.125])
    assert len(kdz.pack(stores([numpy_helper.from_array(four, "t")]))) < 1.02 * (1.75 * count / 8) + 120


def test_numbers_that_are_as_their_left_neighbours_take_what_that_leaves_open():
    """A chain in each row, that moves on with probability 0.1: 0.1 log2(15) and the entropy of 0.1 bits a number."""
    drawn, rows, columns = np.random.default_rng(0), 64, 600
    moves = np.where(drawn.random((rows, columns)) < 0.1, drawn.integers(1, 16, (rows, columns)), 0)
    chain = (moves.cumsum(1) % 16).astype(np.uint8)
    content = stores([TensorProto(name="t", data_type=TensorProto.UINT4, dims=chain.shape, raw_data=raw_of(chain))])
    bits = 0.1 * np.log2(15) - 0.1 * np.log2(0.1) - 0.9 * np.log2(0.9)
    packed = kdz.pack(content)
    assert kdz.payload_bytes(packed) < 1.1 * bits * chain.size / 8
    assert kdz.unpack(packed) == content


def raw_of(symbols):
    """Whole numbers of 4 bits, two a byte."""
    pairs = symbols.reshape(-1, 2)
    return (pairs[:, 0] | pairs[:, 1] << 4).astype(np.uint8).tobytes()


def test_no_damage_gives_another_network(form):
    drawn, packed = random.Random(0), kdz.pack(form)
    whole, back = kdz.unpack(packed), 0  # in int8, tensors are bytes now that ONNX Runtime had written as numbers
    for _ in range(DAMAGES):
        harmed = bytearray(packed)
        kind = drawn.randrange(4)
        at = drawn.randrange(len(harmed))
        if kind == 0:
            harmed[at] ^= 1 << drawn.randrange(8)
        elif kind == 1:
            del harmed[at:]
        elif kind == 2:
            del harmed[at : at + drawn.randrange(1, 9)]
        else:
            harmed[at:at] = bytes(drawn.randrange(256) for _ in range(drawn.randrange(1, 9)))
        try:
            found = kdz.unpack(bytes(harmed))
        except DamagedFile:
            continue
        back += 1
        assert found == whole
    assert back < DAMAGES / 20  # what is added at the end, or changed in bits that are not read


@pytest.mark.parametrize("seed", range(200))
def test_rubbish_is_refused(seed):
    drawn = random.Random(seed)
    for start in (b"", kdz.MAGIC, kdz.MAGIC + bytes(8) + b"\x10\x04"):
        with pytest.raises(DamagedFile):
            kdz.unpack(start + drawn.randbytes(drawn.randrange(200)))


def header(size: int, graph: bytes) -> bytes:
    return kdz.MAGIC + bytes(8) + kdz.as_bytes(size) + kdz.as_bytes(len(graph)) + graph


def test_no_more_memory_is_taken_than_the_header_admits():
    """Tensors, and a graph, that unfold to a gigabyte from a few bytes."""
    large = onnx.load_model_from_string(stores([TensorProto(name="t", data_type=1, dims=[2**28])]))
    huge = onnx.load_model_from_string(stores([TensorProto(name="t", data_type=1, dims=[2**62, 2**62])]))
    often = onnx.load_model_from_string(stores([]))
    often.graph.node[0].input.extend(["long" * 1_000] * 5_000)
    hostile = [
        *(header(10_000, kdz.graph.deflated(form)) for form in kdz.graph.forms(large)),
        *(header(10_000, kdz.graph.deflated(form)) for form in kdz.graph.forms(huge)),
        *(header(20_000, kdz.graph.deflated(form)) for form in kdz.graph.forms(often)),
        *(header(10_000, kdz.graph.deflated(bytes([form]) + bytes(2**24))) for form in range(3)),
        header(2**40, b""),
    ]
    for content in hostile:
        tracemalloc.start()
        with pytest.raises(DamagedFile):
            kdz.unpack(content)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 500_000


def test_negative_dimensions_are_refused():
    negative = onnx.load_model_from_string(stores([TensorProto(name="t", data_type=1, dims=[-2, -3])]))
    with pytest.raises(DamagedFile):
        kdz.unpack(header(10_000, kdz.graph.packed(negative)))


@pytest.mark.parametrize(("kind", "raw"), [(TensorProto.INT4, b"\x12\xf3"), (TensorProto.INT2, b"\xff")])
def test_bits_behind_the_last_number_are_nobodys(kind, raw):
    content = stores([TensorProto(name="t", data_type=kind, dims=[3], raw_data=raw)])
    [tensor] = onnx.load_model_from_string(kdz.unpack(kdz.pack(content))).graph.initializer
    before = onnx.load_model_from_string(content).graph.initializer[0]
    assert numpy_helper.to_array(tensor).tolist() == numpy_helper.to_array(before).tolist()


def test_a_tensor_of_another_length_than_its_shape_is_not_packed():
    content = stores([TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[3], raw_data=bytes(16))])
    with pytest.raises(DamagedFile, match="t holds 16 bytes, and its shape takes 12"):
        kdz.pack(content)


def test_what_is_no_onnx_model_is_not_packed():
    with pytest.raises(DamagedFile, match="not an ONNX model"):
        kdz.pack(b"rubbish")
