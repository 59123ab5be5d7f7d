import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from tests.compress.tasks import task_of, used

from kdbench.artifact.export import export
from kdbench.artifact.file import Artifact
from kdbench.artifact.session import session
from kdbench.compress.quantize.dynamic_int8 import DynamicInt8
from kdbench.evaluation import size
from kdbench.evaluation.weights import layers
from kdbench.models.network import build, parameters
from kdbench.settings.choices import config_dir, options, read

MODELS = {name: path for name, path in options("model", [config_dir()]).items() if "called" not in read(path)}


@pytest.fixture(scope="module", params=[*MODELS, "colours"])
def pair(request) -> tuple[int, tuple, Artifact, Artifact]:
    """A network of every kind, as float32 and as int8; its number of parameters, and the shape of its images."""
    if request.param == "colours":
        splits = request.getfixturevalue("colours")
        network, shape = used("cnn", splits), splits.shape
    else:
        node = OmegaConf.to_container(OmegaConf.load(MODELS[request.param]))
        model = {name: value for name, value in node.items() if name not in ("teacher", "defaults")}
        shape = (1, 28, 28)
        network = build(model, 0, shape, 10, ((0.13,), (0.31,))).eval()
    plain = export(network, shape)
    int8 = DynamicInt8()(plain, task_of(request.getfixturevalue("digits")))
    return parameters(network), shape, Artifact(plain), Artifact(int8)


def test_every_layer_with_weights_is_int8(pair):
    *_, plain, quantized = pair
    integer = [layer.node for layer in layers(quantized.file) if layer.node.op_type.endswith("Integer")]
    assert len(integer) == len(layers(quantized.file)) == len(layers(plain.file)) > 0
    kinds = {tensor.name: tensor.data_type for tensor in quantized.file.graph.initializer}
    assert {kinds[node.input[1]] for node in integer} <= {TensorProto.INT8, TensorProto.UINT8}


def test_signed_weights_leave_no_room_for_saturation(pair):
    """Two products of uint8 and int8 must fit into 16 bits, which is how processors without VNNI add them."""
    for tensor in pair[-1].file.graph.initializer:
        weight = numpy_helper.to_array(tensor)
        if weight.dtype == np.int8 and weight.ndim > 1:
            assert 2 * 255 * np.abs(weight.astype(int)).max() <= 2**15 - 1


def test_weight_bytes_are_a_quarter_and_the_file_follows(pair):
    count, _, plain, quantized = pair
    if count > 1000:  # below, scales and the like weigh as much as weights
        assert 0.25 <= size.weight_bytes(quantized.file) / size.weight_bytes(plain.file) <= 0.27
    if count > 100_000:
        assert quantized.size_bytes / plain.size_bytes <= 0.30


def test_logits_stay_close_and_the_given_file_is_not_changed(pair):
    _, shape, plain, quantized = pair
    content = plain.file.SerializeToString(deterministic=True)
    images = torch.rand(16, *shape, generator=torch.Generator().manual_seed(0)).numpy()
    before, after = (session(file.content, 1)(images) for file in (plain, quantized))
    assert np.abs(before - after).max() < 0.05 * np.abs(before).max()
    # By the definition of the operators, whatever processor this is.
    defined = ReferenceEvaluator(quantized.file).run(None, {"images": images[:4]})[0]
    ran = session(quantized.content, 1)(images[:4])
    assert np.allclose(ran, defined, atol=1e-4)
    assert plain.file.SerializeToString(deterministic=True) == content


def test_multiply_adds_do_not_depend_on_how_weights_are_stored(pair):
    *_, plain, quantized = pair
    assert size.macs(plain.file) == size.macs(quantized.file) > 0
