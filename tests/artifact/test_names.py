"""Names in the file that ships: what is computed stays, and so do the names that layers are called by."""

import numpy as np
import pytest
from onnx import ModelProto, checker, load_model_from_string
from tests.artifact.packing.graphs import ODD, model, node
from tests.compress.tasks import task_of, used
from tests.training.methods import KNOBS
from torch.nn.functional import pad

from kdbench.artifact.export import export
from kdbench.artifact.names import by_position
from kdbench.artifact.packing import graph
from kdbench.artifact.session import session
from kdbench.compress.quantize.aware import QuantizeAware, settle
from kdbench.compress.quantize.static_int8 import OUTPUT, StaticInt8
from kdbench.models.network import build


@pytest.fixture(scope="module")
def file(digits) -> ModelProto:
    return StaticInt8(50, "minmax", 99.99, 7, [], OUTPUT)(export(used("cnn", digits), digits.shape), task_of(digits))


def names(parts) -> list[str]:
    return [part.name for part in parts]


def test_logits_are_equal_to_the_last_bit(file, digits):
    images = digits.test.images[:50].numpy().astype(np.float32) / 255
    before, after = (session(made.SerializeToString(), 1)(images) for made in (file, by_position(file)))
    assert before.tobytes() == after.tobytes()


def test_inputs_outputs_and_stored_tensors_keep_their_names_and_numbers(file):
    graph, renamed = file.graph, by_position(file).graph
    for parts in ("input", "output"):
        assert names(getattr(renamed, parts)) == names(getattr(graph, parts))
    assert sorted(map(str, renamed.initializer)) == sorted(map(str, graph.initializer))


def test_tensors_stand_in_the_order_of_their_use_and_the_rest_has_no_names_of_its_own(file):
    graph = by_position(file).graph
    stored = set(names(graph.initializer))
    read = [name for made in graph.node for name in made.input if name in stored]
    assert names(graph.initializer) == list(dict.fromkeys(read))
    values = [name for made in graph.node for name in made.output]
    assert values == [*(f"v{place}" for place in range(len(values) - 1)), "logits"]
    assert not any(names(graph.node))
    assert not graph.value_info


def test_what_is_named_by_position_stays_so(file):
    once = by_position(file).SerializeToString(deterministic=True)
    assert by_position(load_model_from_string(once)).SerializeToString(deterministic=True) == once


def test_a_name_that_a_tensor_has_is_given_to_no_value():
    made = by_position(
        model(node("Mul", ["x", "v0"], ["a"]), node("Mul", ["a", "v0_"], ["y"]), stored=("v0", "v0_", "never"))
    )
    checker.check_model(made, full_check=True)
    assert [list(part.input) for part in made.graph.node] == [["x", "v0"], ["v0__", "v0_"]]
    assert names(made.graph.initializer) == ["v0", "v0_", "never"]


def test_values_swap_names_and_what_is_left_out_stays_out():
    made = by_position(
        model(node("Split", ["x"], ["v1", "", "v0"], axis=0), node("Clip", ["v0", "", "v1"], ["y"]))
    ).graph
    assert [(list(part.input), list(part.output)) for part in made.node] == [
        (["x"], ["v0", "", "v2"]),
        (["v2", "", "v0"], ["y"]),
    ]


def test_graphs_within_nodes_keep_their_names():
    odd = ODD["a graph within a node"]
    assert by_position(odd) == odd


def test_the_graph_of_a_network_a_stage_deeper_than_any_in_the_dictionary_takes_350_bytes(digits):
    """`graphs.bin` holds up to four stages; this one has five, of other widths."""
    knobs = KNOBS["cnn"] | {"widths": [3, 5, 7, 9, 13], "convs": 2}
    network = build(knobs, 0, (1, 32, 32), 10, ([0.2], [0.3])).eval()
    on_grids = QuantizeAware(bits=4, images=20, learned=False, finetune_epochs=0, finetune_lr_scale=1.0).on_grids(
        network
    )
    settle(on_grids, pad(digits.train.images[:20].float() / 255, (2, 2, 2, 2)))
    bare, _ = graph.apart(graph.canonical(by_position(export(on_grids.eval(), (1, 32, 32)))))
    assert len(graph.packed(bare)) < 350
