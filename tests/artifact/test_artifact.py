import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from tests.models.test_models import NAMES, shipped

from kdbench.artifact.export import export
from kdbench.artifact.file import Artifact
from kdbench.artifact.session import session
from kdbench.cli.ls import sizes
from kdbench.models.network import build


@pytest.fixture(scope="module", params=NAMES)
def exported(request):
    network = build(shipped(request.param), 0, (0.13, 0.31))
    network.train()(torch.rand(32, 1, 28, 28))  # moves the statistics of batch norm away from 0 and 1
    network.eval()
    return request.param, network, Artifact(export(network))


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_file_and_module_agree_on_logits_at_any_batch_size(exported, batch):
    _, network, file = exported
    images = torch.rand(batch, 1, 28, 28)
    with torch.no_grad():
        expected = network(images).numpy()
    assert np.allclose(session(file.content, 1)(images.numpy()), expected, atol=1e-4)


def test_the_interface_of_the_file(exported):
    _, _, file = exported
    [images], [logits] = file.file.graph.input, file.file.graph.output
    assert (images.name, logits.name) == ("images", "logits")
    assert [d.dim_param or d.dim_value for d in images.type.tensor_type.shape.dim] == ["batch", 1, 28, 28]
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


def test_zeros_in_the_file_have_no_sign():
    network = build(shipped("mlp_simple"), 0, (0.13, 0.31)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_((parameter > 0).float())  # as pruning does: negative weights become -0.0
    assert any((torch.signbit(parameter) & (parameter == 0)).any() for parameter in network.parameters())
    for tensor in export(network).graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        assert not (np.signbit(values) & (values == 0)).any()


def test_export_is_deterministic(exported):
    _, network, file = exported
    assert Artifact(export(network)).content == file.content


def test_multiply_adds_of_file_and_module_agree(exported):
    from kdbench.evaluation.size import macs

    name, _, file = exported
    assert f"{macs(file.file):,}" == sizes(shipped(name))[1]


def test_onnx_reference_evaluator_computes_the_same():
    network = build(shipped("cnn_simple"), 0, (0.13, 0.31)).eval()
    file = Artifact(export(network))
    images = np.random.default_rng(0).random((4, 1, 28, 28), np.float32)
    reference = ReferenceEvaluator(file.file).run(None, {"images": images})[0]
    assert np.allclose(session(file.content, 1)(images), reference, atol=1e-4)
