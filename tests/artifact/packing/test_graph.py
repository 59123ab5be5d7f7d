"""The graph of a packed file: every graph comes back byte for byte, and layers more cost little."""

import random
import tracemalloc

import pytest
from onnx import ModelProto, TensorProto
from tests.artifact.packing.graphs import ODD, model, node

from kdbench.artifact.names import by_position
from kdbench.artifact.packing import graph, recent, structure
from kdbench.artifact.packing.whole_numbers import as_bytes
from kdbench.errors import DamagedFile

ROOM = 10**5  # bytes


def bytes_of(file: ModelProto) -> bytes:
    return file.SerializeToString(deterministic=True)


@pytest.mark.parametrize("file", ODD.values(), ids=ODD)
def test_every_graph_comes_back_byte_for_byte(file):
    bare, _ = graph.apart(graph.canonical(file))
    for form in graph.forms(bare):
        assert bytes_of(graph.read(form, ROOM)) == bytes_of(bare)
    assert bytes_of(graph.unpacked(graph.packed(bare), len(bytes_of(bare)))) == bytes_of(bare)


def test_what_could_not_be_told_apart_stays_as_it_is():
    negative = model(node("Mul", ["x", "w"], ["y"]))
    negative.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[-2, 3])
    long = model(node("Mul", ["x", "w"], ["y"]))
    long.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[2**40])
    nameless = model(node("Abs", ["x"], ["y"]))
    nameless.graph.initializer.add(data_type=TensorProto.FLOAT)
    not_utf8 = ModelProto.FromString(bytes_of(model(node("Abs", ["name"], ["y"]))).replace(b"name", b"na\xc5e"))
    for file in (negative, long, nameless, not_utf8):
        [form] = graph.forms(file)
        assert bytes_of(graph.read(form, ROOM)) == bytes_of(file)


@pytest.mark.parametrize("numbers", [[1.0], [1.0] * 9])
def test_numbers_that_are_too_few_or_too_many_for_their_shape_are_refused(numbers):
    file = model(node("Mul", ["x", "w"], ["y"]))
    file.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[2, 4], float_data=numbers)
    with pytest.raises(DamagedFile, match="w holds"):
        graph.canonical(file)


def layers(count: int, first: int = 0) -> ModelProto:
    """Layers one after the other, each with a vector of its own width."""
    nodes = [node("Mul", [f"a{k - 1}" if k else "x", f"{k + first}.weight"], [f"a{k}"]) for k in range(count)]
    made = model(*nodes, node("Abs", [nodes[-1].output[0]], ["y"]))
    for k in range(count):
        made.graph.initializer.add(name=f"{k + first}.weight", data_type=TensorProto.FLOAT, dims=[17 * k + 3])
    return by_position(made)


def test_layers_more_cost_little_more_than_their_widths():
    """A width takes two bytes from 128 on."""
    few, many = (len(graph.deflated(graph.forms(layers(count))[0])) for count in (20, 120))
    assert many - few < 2.5 * 100


def test_widths_and_names_do_not_change_the_length():
    assert len({len(graph.forms(layers(9, first))[0]) for first in range(20)}) == 1


def test_a_form_whose_bytes_are_harmed_is_refused_or_another_graph():
    drawn = random.Random(0)
    form = graph.forms(layers(9))[0]
    refused = 0
    for _ in range(2_000):
        harmed = bytearray(form)
        for _ in range(drawn.randrange(1, 4)):
            harmed[drawn.randrange(len(harmed))] = drawn.randrange(256)
        try:
            made = graph.read(bytes(harmed[: drawn.choice([None, drawn.randrange(len(harmed))])]), ROOM)
        except DamagedFile:
            refused += 1
        else:
            assert made.ByteSize() < 2 * ROOM
    assert refused > 1_000  # all that were cut, and most of the others


@pytest.mark.parametrize("repeated", ["name", "node", "tensor"])
def test_what_stands_once_and_is_meant_often_takes_no_more_than_there_is_room_for(repeated):
    """A thousand times ten thousand bytes."""
    long = "n" * 10_000
    if repeated == "name":
        file = model(node("Sum", [long] * 1_000, ["y"]), stored=(long,))
    elif repeated == "node":
        file = model(*[node("Abs", ["x"], ["y"], doc_string=long)] * 1_000)
    else:
        file = model(node("Abs", ["x"], ["y"]))
        for _ in range(1_000):
            file.graph.initializer.add(name="w", doc_string=long)
    form = graph.forms(file)[0]
    assert len(form) < 30_000
    with pytest.raises(DamagedFile):
        graph.read(form, ROOM)


@pytest.mark.parametrize("counts", [(20_000, 0, 0), (0, 20_000, 0), (0, 0, 20_000), (0, 1, 0)])
def test_more_than_the_file_can_hold_is_refused_before_it_is_made(counts):
    """Parts that take no bytes of their own, and the axes of a tensor."""
    rest = structure.with_length(model().SerializeToString())
    parts = recent.written([b""] * sum(counts[:2]), structure.with_length)
    axes = as_bytes(60_000) * counts[1] + recent.written([1] * 60_000, as_bytes)
    content = rest + b"".join(map(as_bytes, counts)) + parts + axes
    tracemalloc.start()
    with pytest.raises(DamagedFile, match="larger than its header says"):
        structure.read(content, ROOM)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20 * ROOM
