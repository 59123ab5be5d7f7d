import copy
import functools

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from tests.models.test_models import COLOURS, DIGITS, NAMES, built, some
from torch.utils.flop_counter import FlopCounterMode

from kdbench.artifact.export import export
from kdbench.artifact.file import Artifact
from kdbench.artifact.session import session
from kdbench.evaluation.size import macs

# Exporting takes seconds: every model for the one kind of images, one of each family for the other.
CASES = [(name, COLOURS) for name in NAMES]
CASES += [(name, DIGITS) for name in ("mlp_simple", "cnn_simple", "resnet_simple")]


@functools.cache
def file_of(name, data):
    network = built(name, data=data)
    network.train()(some(32, data))  # moves the statistics of batch norm away from 0 and 1
    before = {name: tensor.clone() for name, tensor in network.eval().state_dict().items()}
    file = Artifact(export(network, data[0]))
    assert not network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    return network, file


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{case[1][0][0]}")
def exported(request):
    name, data = request.param
    network, file = file_of(name, data)
    return network, data, file


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_file_and_module_agree_on_logits_at_any_batch_size(exported, batch):
    network, data, file = exported
    images = some(batch, data)
    with torch.no_grad():
        expected = network(images).numpy()
    found = session(file.content, 1)(images.numpy())
    assert found.shape == (batch, data[1])
    assert np.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("name", ["mlp_simple", "cnn_simple", "resnet_simple"])
def test_weights_put_into_a_graph_that_was_traced_before_are_those_of_an_export_of_their_own(name, monkeypatch):
    """What holds of the files of these tests (`conftest.traced_once`) holds of those that torch makes."""
    network, _ = file_of(name, DIGITS)
    other = copy.deepcopy(network).train()
    other(some(32, DIGITS).flip(0) ** 2)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    quick = export(other.eval(), DIGITS[0]).graph
    monkeypatch.setattr(torch.onnx, "export", torch.onnx.export.__wrapped__)
    whole = export(other, DIGITS[0]).graph
    assert [node.op_type for node in quick.node] == [node.op_type for node in whole.node]
    for ours, theirs in zip(quick.initializer, whole.initializer, strict=True):
        assert ours.raw_data == theirs.raw_data


def test_the_interface_of_the_file(exported):
    _, (shape, classes), file = exported
    [images], [logits] = file.file.graph.input, file.file.graph.output
    assert (images.name, logits.name) == ("images", "logits")
    assert [d.dim_param or d.dim_value for d in images.type.tensor_type.shape.dim] == ["batch", *shape]
    assert [d.dim_param or d.dim_value for d in logits.type.tensor_type.shape.dim] == ["batch", classes]
    assert images.type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_the_file_carries_no_trace_of_where_it_was_made(exported):
    _, _, file = exported
    # The weights apart: among millions of bytes any three come up by chance.
    rest = onnx.ModelProto()
    rest.CopyFrom(file.file)
    for tensor in rest.graph.initializer:
        tensor.ClearField("raw_data")
    for trace in (".py", "/", "torch.nn", "pkg.", "metadata_props"):
        assert trace not in str(rest), trace


class Both(torch.nn.Module):
    """A linear layer on the rows of an image, and on their mean."""

    def __init__(self):
        super().__init__()
        self.rows, self.last = torch.nn.Linear(28, 12), torch.nn.Linear(12, 10)

    def forward(self, images):
        rows = images.squeeze(1)
        return self.last(self.rows(rows).mean(1) + self.rows(rows.mean(1)))


def test_the_weights_of_a_layer_that_takes_rows_and_sequences_of_rows_are_stored_once():
    network = Both().eval()
    file = Artifact(export(network, (1, 28, 28)))
    matrices = [tensor for tensor in file.file.graph.initializer if len(tensor.dims) == 2]
    assert len(matrices) == 2
    images = some(5, DIGITS)
    assert np.allclose(session(file.content, 1)(images.numpy()), network(images).detach().numpy(), atol=1e-5)


def test_multiply_adds_of_file_and_module_agree(exported):
    network, data, file = exported
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(some(1, data))
    # It counts a multiply-add as two operations.
    assert macs(file.file) == counter.get_total_flops() / 2


def test_batch_norm_is_folded_into_the_convolutions(exported):
    _, _, file = exported
    assert "BatchNormalization" not in {node.op_type for node in file.file.graph.node}


def test_zeros_in_the_file_have_no_sign():
    network = built("mlp_simple").eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_((parameter > 0).float())  # as pruning does: negative weights become -0.0
    assert any((torch.signbit(parameter) & (parameter == 0)).any() for parameter in network.parameters())
    for tensor in export(network, DIGITS[0]).graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        assert not (np.signbit(values) & (values == 0)).any()


def test_export_is_deterministic():
    network, file = file_of("cnn_simple", COLOURS)
    assert Artifact(export(network, COLOURS[0])).content == file.content


def test_onnx_reference_evaluator_computes_the_same():
    _, file = file_of("cnn_simple", COLOURS)
    images = some(4, COLOURS).numpy()
    reference = ReferenceEvaluator(file.file).run(None, {"images": images})[0]
    assert np.allclose(session(file.content, 1)(images), reference, atol=1e-4)
