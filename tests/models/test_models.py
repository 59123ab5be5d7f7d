from itertools import pairwise

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from kdbench.errors import BadSetting
from kdbench.models.cnn import CNN
from kdbench.models.mlp import MLP
from kdbench.models.network import Normalise, build, parameters
from kdbench.models.resnet import ResNet
from kdbench.settings.choices import config_dir, options

NAMES = list(options("model", [config_dir()]))


def shipped(name: str) -> dict:
    node = OmegaConf.to_container(OmegaConf.load(config_dir() / "model" / f"{name}.yaml"))
    return {key: value for key, value in node.items() if key not in ("teacher", "defaults")}


@pytest.mark.parametrize("name", NAMES)
def test_every_model_maps_images_to_ten_logits_and_every_weight_learns(name):
    network = build(shipped(name), 0, (0.1, 0.3))
    logits = network(torch.rand(3, 1, 28, 28))
    assert logits.shape == (3, 10)
    logits.square().sum().backward()
    for weight_name, weight in network.named_parameters():
        assert weight.grad is not None, weight_name
        assert weight.grad.abs().sum() > 0, weight_name


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("mlp")])
def test_images_and_gradients_stay_channels_last_through_the_layers(name):
    # One layer of another layout costs a copy in each of its neighbours: 15% of a training step of ResNet-8.
    network = build(shipped(name), 0, (0.1, 0.3)).to(memory_format=torch.channels_last)
    layers = list(network[1].children())
    before_the_head = layers[: [type(layer) for layer in layers].index(nn.Flatten) - 1]
    values: list[torch.Tensor] = []
    for layer in before_the_head:
        layer.register_forward_hook(lambda layer, inputs, output: values.append(output.detach()))
        layer.register_forward_hook(lambda layer, inputs, output: output.register_hook(values.append) and None)
    network(torch.rand(3, 1, 28, 28)).square().sum().backward()
    assert len(values) == 2 * len(before_the_head)
    assert all(value.is_contiguous(memory_format=torch.channels_last) for value in values)


@pytest.mark.parametrize(("stages", "side"), [(1, 28), (2, 14), (3, 7), (4, 4), (5, 2)])
def test_a_resnet_averages_over_all_of_the_image_that_is_left(stages, side):
    network = ResNet([8] * stages, 1)
    assert next(m.kernel_size for m in network.modules() if isinstance(m, nn.AvgPool2d)) == side
    assert network(torch.rand(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("widths", [[64], [256, 128], [3, 5, 7]])
def test_parameters_of_an_mlp(widths):
    sizes = [784, *widths, 10]
    expected = sum((before + 1) * after for before, after in pairwise(sizes))
    assert parameters(MLP(widths)) == expected


@pytest.mark.parametrize(("head", "positions"), [("flatten", 9), ("average", 1)])
@pytest.mark.parametrize("convs", [1, 2])
def test_parameters_of_a_cnn(head, positions, convs):
    widths = [4, 6, 8]
    expected = (8 * positions + 1) * 10
    before = 1
    for width in widths:
        for _ in range(convs):
            expected += 9 * before * width + 2 * width
            before = width
    assert parameters(CNN(widths, convs, head)) == expected


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_resnet_has_6n_plus_2_layers(n):
    layers = [module for module in ResNet([16, 32, 64], n).modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(layers) == 6 * n + 2


def test_parameters_of_resnet_20():
    # He et al. 2016, table 6: 0.27M. Exactly: 9 * (16 + 6 * 16² + 16 * 32 + 5 * 32² + 32 * 64 + 5 * 64²) weights,
    # 2 * (7 * 16 + 6 * 32 + 6 * 64) for batch norm, 650 for the head; one input channel.
    assert parameters(ResNet([16, 32, 64], 3)) == 267_408 + 1_376 + 650


def test_seeds_decide_the_weights_and_zero_is_a_seed():
    def weights(seed: int) -> torch.Tensor:
        return torch.cat([p.flatten() for p in build(shipped("cnn_simple"), seed, (0.1, 0.3)).parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_normalisation_is_part_of_the_network():
    images = torch.rand(2, 1, 28, 28)
    assert torch.allclose(Normalise(0.25, 0.5)(images), (images - 0.25) / 0.5)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: MLP([]), "model.widths"),
        (lambda: MLP([0]), "model.widths"),
        (lambda: MLP("64"), "model.widths"),
        (lambda: CNN([8, True], 1, "flatten"), "model.widths"),
        (lambda: CNN([8], 0, "flatten"), "model.convs"),
        (lambda: CNN([8], 1, "flaten"), "model.head=flaten is unknown: did you mean 'flatten'"),
        (lambda: ResNet([16, 8], 1), "model.widths"),
        (lambda: ResNet([16], 1.5), "model.blocks"),
    ],
)
def test_bad_knobs_are_named(make, field):
    with pytest.raises(BadSetting, match=field):
        make()
