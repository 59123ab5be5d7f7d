import gzip

import pytest
import torch
from tests.models.test_models import shipped
from torch import nn

from kdbench.artifact.export import export
from kdbench.compress.prune.global_magnitude import GlobalMagnitude, prunable
from kdbench.compress.quantize.dynamic_int8 import DynamicInt8
from kdbench.compress.step import Task
from kdbench.evaluation import size
from kdbench.models.mlp import MLP
from kdbench.models.network import build


@pytest.fixture(scope="module")
def network():
    return build(shipped("cnn_simple"), 0, (0.13, 0.31)).eval()


def test_zeros_in_the_file_are_those_of_the_network(network):
    pruned = GlobalMagnitude(0.9, 0, 1)(network, Task(lambda *_, **__: None))
    expected = round(0.9 * sum(weight.numel() for weight in prunable(network)))
    assert size.zero_weights(export(network)) == 0
    assert size.zero_weights(export(pruned)) == expected


def test_quantization_keeps_zeros_and_rounds_small_weights_to_more(network):
    pruned = GlobalMagnitude(0.5, 0, 1)(network, Task(lambda *_, **__: None))
    file = export(pruned)
    assert size.zero_weights(DynamicInt8()(file)) >= size.zero_weights(file)


def test_zeros_in_an_int8_layer_are_its_zero_point():
    torch.manual_seed(0)
    layer = MLP([5])
    with torch.no_grad():
        for module in layer.modules():
            if isinstance(module, nn.Linear):
                module.weight.copy_(torch.where(torch.rand_like(module.weight) < 0.5, 1.0, 0.0))
    expected = sum(int((weight == 0).sum()) for weight in prunable(layer))
    assert size.zero_weights(DynamicInt8()(export(layer.eval()))) == expected


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


def test_gzip_bytes_are_those_of_a_gzipped_file():
    content = b"kdbench" * 1000
    assert size.gzip_bytes(content) == len(gzip.compress(content, 9, mtime=0)) < 100
