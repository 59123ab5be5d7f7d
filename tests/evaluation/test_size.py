import copy
import gzip
import math

import numpy as np
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from tests.models.test_models import built
from torch import nn

from kdbench.artifact.export import export as export_shaped
from kdbench.compress.layers import weight_names, weights
from kdbench.compress.prune import masks
from kdbench.compress.quantize.dynamic_int8 import DynamicInt8
from kdbench.evaluation import size
from kdbench.models import mlp
from kdbench.training.constraints import KeepZeros

SHAPE = (1, 28, 28)


def export(network: nn.Module) -> ModelProto:
    return export_shaped(network.eval(), SHAPE)


def MLP(widths: list[int]) -> nn.Module:  # noqa: N802 - the class, for images of this shape
    return mlp.MLP(widths, SHAPE, 10)


def weights_of(network: nn.Module) -> dict[str, nn.Parameter]:
    return {name: network.get_parameter(name) for name in weight_names(network)}


def quantized(file: ModelProto) -> ModelProto:
    return DynamicInt8()(file, None)  # it asks nothing of its task


def pruned(network: nn.Module, sparsity: float) -> nn.Module:
    network = copy.deepcopy(network)
    sizes = {name: weight.abs() for name, weight in weights(network).items()}
    KeepZeros(masks.over_the_network(sizes, sparsity)).apply(network, 0, 0)
    return network


@pytest.fixture(scope="module")
def network():
    return built("cnn_simple").eval()


def test_zeros_in_the_file_are_those_of_the_network(network):
    expected = round(0.9 * sum(weight.numel() for weight in weights_of(network).values()))
    assert size.zero_weights(export(network)) == 0
    assert size.zero_weights(export(pruned(network, 0.9))) == expected


def test_quantization_keeps_zeros_and_rounds_small_weights_to_more(network):
    file = export(pruned(network, 0.5))
    assert size.zero_weights(quantized(file)) >= size.zero_weights(file)


def test_zeros_in_an_int8_layer_are_its_zero_point():
    torch.manual_seed(0)
    layer = MLP([5])
    with torch.no_grad():
        for module in layer.modules():
            if isinstance(module, nn.Linear):
                module.weight.copy_(torch.where(torch.rand_like(module.weight) < 0.5, 1.0, 0.0))
    expected = sum(int((weight == 0).sum()) for weight in weights_of(layer).values())
    assert size.zero_weights(quantized(export(layer))) == expected


def test_weight_bytes_of_a_plain_network_are_four_a_number():
    file = export(MLP([5]).eval())
    weights = 784 * 5 + 5 + 5 * 10 + 10
    # Beside weights and biases the file holds only the two-number shape of the flattening.
    assert weights * 4 <= size.weight_bytes(file) <= weights * 4 + 16


def test_multiply_adds_of_an_mlp_are_its_weights():
    assert size.macs(export(MLP([5, 7]).eval())) == 784 * 5 + 5 * 7 + 7 * 10


def test_multiply_adds_of_a_convolution_are_kernel_times_positions():
    network = nn.Sequential(nn.Conv2d(1, 3, 5, stride=2), nn.Flatten(), nn.Linear(3 * 144, 10))
    assert size.macs(export(network.eval())) == 3 * 25 * 12 * 12 + 3 * 144 * 10


def test_a_transposed_convolution_applies_its_kernel_at_every_position_of_its_input():
    network = nn.Sequential(nn.ConvTranspose2d(1, 4, 3, stride=2), nn.ConvTranspose2d(4, 6, 5, groups=2))
    side = 27 * 2 + 3
    assert size.macs(export(network.eval())) == 28 * 28 * 4 * 9 + side * side * 4 * 3 * 25


def test_gzip_bytes_are_those_of_a_gzipped_file():
    content = b"kdbench" * 1000
    assert size.gzip_bytes(content) == len(gzip.compress(content, 9, mtime=0)) < 100


BITS = {"FLOAT": 32, "DOUBLE": 64, "FLOAT16": 16, "BFLOAT16": 16, "FLOAT8E4M3FN": 8, "FLOAT8E5M2": 8, "FLOAT4E2M1": 4}
BITS |= {"INT64": 64, "INT32": 32, "INT8": 8, "UINT8": 8, "INT4": 4, "UINT4": 4, "INT2": 2, "UINT2": 2, "BOOL": 8}


@pytest.mark.parametrize("kind", BITS)
@pytest.mark.parametrize("raw", [True, False])
def test_a_tensor_takes_the_bytes_of_its_type(kind, raw):
    if not hasattr(TensorProto, kind):
        pytest.skip("this version of ONNX lacks it")
    ones = np.ones((3, 3), helper.tensor_dtype_to_np_dtype(getattr(TensorProto, kind)))
    tensor = helper.make_tensor("w", getattr(TensorProto, kind), [3, 3], ones)
    expected = math.ceil(9 * BITS[kind] / 8)
    if raw:
        tensor = numpy_helper.from_array(ones, "w")
        assert len(tensor.raw_data) == expected
    file = ModelProto()
    file.graph.initializer.append(tensor)
    assert size.weight_bytes(file) == expected
    file.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))
    assert size.weight_bytes(file) == 2 * expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"value_float": 0.0}, 4),
        ({"value_floats": [0.0, 1.0]}, 8),
        ({"value_int": 0}, 8),
        ({"value_ints": [0, 1, 2]}, 24),
        ({"value_strings": ["a", "bc"]}, 3),
    ],
)
def test_plain_values_of_constant_nodes_take_bytes(value, expected):
    file = ModelProto()
    file.graph.node.append(helper.make_node("Constant", [], ["c"], **value))
    assert size.weight_bytes(file) == expected
