"""Networks in other sizes than they were built with: what their layers say of themselves, and what they cost."""

import pytest
import torch
from tests.compress.awkward import CalledTwice
from torch import nn

from kdbench.compress.resized import macs, resized

LAYERS = [
    (nn.Linear(5, 7), nn.Linear(3, 4), (2, 3)),
    (nn.Conv2d(5, 7, 3), nn.Conv2d(1, 4, 3), (2, 1, 8, 8)),
    (nn.Conv2d(1, 7, 3), nn.Conv2d(1, 4, 3), (2, 1, 8, 8)),
    (nn.Conv2d(6, 8, 3, groups=2), nn.Conv2d(4, 6, 3, groups=2), (2, 4, 8, 8)),
    (nn.Conv2d(6, 6, 3, groups=6), nn.Conv2d(4, 4, 3, groups=4), (2, 4, 8, 8)),
    (nn.Conv2d(6, 12, 3, groups=6), nn.Conv2d(4, 8, 3, groups=4), (2, 4, 8, 8)),
    (nn.ConvTranspose2d(5, 7, 3), nn.ConvTranspose2d(3, 4, 3), (2, 3, 8, 8)),
    (nn.ConvTranspose2d(6, 6, 3, groups=6), nn.ConvTranspose2d(4, 4, 3, groups=4), (2, 4, 8, 8)),
    (nn.BatchNorm1d(5), nn.BatchNorm1d(3), (2, 3)),
    (nn.BatchNorm1d(5, track_running_stats=False), nn.BatchNorm1d(3, track_running_stats=False), (2, 3)),
    (nn.InstanceNorm2d(5, affine=True), nn.InstanceNorm2d(3, affine=True), (2, 3, 8, 8)),
    (nn.InstanceNorm2d(5, track_running_stats=True), nn.InstanceNorm2d(3, track_running_stats=True), (2, 3, 8, 8)),
    (nn.LayerNorm(5), nn.LayerNorm(3), (2, 3)),
    (nn.RMSNorm(5), nn.RMSNorm(3), (2, 3)),
    (nn.GroupNorm(2, 8), nn.GroupNorm(2, 4), (2, 4, 8, 8)),
]


@pytest.mark.parametrize(("layer", "other", "shape"), LAYERS, ids=str)
def test_a_layer_is_as_one_that_was_built_in_that_size(layer, other, shape):
    made = resized(layer, {name: tensor.shape for name, tensor in other.state_dict().items()})
    assert made.extra_repr() == other.extra_repr()
    made.load_state_dict(other.state_dict())
    images = torch.rand(shape)
    assert torch.equal(made.eval()(images), other.eval()(images))


@pytest.mark.parametrize(("layer", "_", "shape"), LAYERS, ids=str)
def test_in_its_own_size_a_layer_is_as_it_was(layer, _, shape):
    same = resized(layer, {name: tensor.shape for name, tensor in layer.state_dict().items()})
    assert same.extra_repr() == layer.extra_repr()


def test_every_call_of_a_layer_counts():
    stem, twice, wide, head = 14**2 * 8 * 9, 14**2 * 8 * 8 * 9, 6**2 * 16 * 8 * 9, 576 * 10
    assert macs(CalledTwice(), (1, 28, 28)) == stem + 2 * twice + wide + head


def test_in_a_transposed_convolution_every_input_counts():
    network = nn.Sequential(nn.ConvTranspose2d(3, 4, 5), nn.Flatten(), nn.Linear(4 * 10 * 10, 2))
    assert macs(network, (3, 6, 6)) == 3 * 6 * 6 * 4 * 25 + 400 * 2
