import pytest
import torch
from tests.training.methods import FAMILIES, built, cnn_of, mlp_of, resnet_of
from torch import nn

from kdbench.errors import BadSetting
from kdbench.training import features


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_the_same_with_features_and_without(family):
    network = FAMILIES[family]().eval()
    images = torch.rand(4, 1, 28, 28)
    names = [name for name, _ in network.named_modules() if name]
    output = features.run(network, images, names)
    assert torch.equal(output.logits, network(images))
    assert torch.equal(features.run(network, images).logits, output.logits)
    assert list(output.features) == names


@pytest.mark.parametrize("family", FAMILIES)
def test_a_feature_is_what_its_layer_gave_though_the_next_one_works_in_place(family):
    network = FAMILIES[family]().eval()
    images = torch.rand(4, 1, 28, 28)
    names = [name for name, _ in network.named_children()]
    found = features.run(network, images, names).features
    value = images
    for name, layer in network.named_children():
        value = layer(value)
        expected, value = value.clone(), value.clone()
        assert torch.equal(found[name], expected), name
    assert any((found[name] < 0).any() for name in names)  # before a ReLU that would have taken it away


def test_features_have_gradients():
    network = cnn_of()
    features.run(network, torch.rand(4, 1, 28, 28), ["0"]).features["0"].square().sum().backward()
    assert network[0].weight.grad.abs().sum() > 0
    assert network[-1].weight.grad is None


def test_layers_are_named_as_in_the_model_without_the_normalisation_in_front(colours):
    network = built("resnet", colours).eval()
    images = torch.rand(2, 3, 32, 32)
    output = features.run(network, images, ["0", "3.conv1"])
    assert torch.equal(output.features["0"], network[1][0](network[0](images)))
    assert output.features["3.conv1"].shape == (2, 4, 32, 32)


def test_a_layer_that_there_is_not_is_an_error_with_the_names_that_there_are():
    with pytest.raises(BadSetting, match=r"there is no layer conv9: choose from 0, 1, 2, 3$") as error:
        features.run(mlp_of(), torch.rand(1, 1, 28, 28), ["conv9"])
    assert "\n" not in str(error.value)
    with pytest.raises(BadSetting, match="there is no layer : choose from"):
        features.submodule(mlp_of(), "")


def test_a_layer_that_takes_no_part_is_an_error():
    class Part(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = mlp_of(), nn.Linear(1, 1)

        def forward(self, images):
            return self.used(images)

    with pytest.raises(BadSetting, match="layer unused takes no part"):
        features.run(Part(), torch.rand(1, 1, 28, 28), ["used", "unused"])


def test_nothing_is_left_in_a_network_also_after_an_error():
    network = mlp_of()
    features.run(network, torch.rand(1, 1, 28, 28), ["1"])
    features.shapes(network, (1, 28, 28))
    for call in (lambda: features.run(network, torch.rand(1, 5), ["1"]), lambda: features.shapes(network, (5,))):
        with pytest.raises(RuntimeError):
            call()
    assert not any(module._forward_hooks for module in network.modules())


def test_in_float32_is_everything():
    output = features.Output(torch.ones(2, 3).bfloat16(), {"a": torch.ones(2).bfloat16()})
    found = features.in_float32(output)
    assert (found.logits.dtype, found.features["a"].dtype) == (torch.float32, torch.float32)


def test_shapes_are_those_of_one_image_in_the_order_of_the_layers(colours):
    found = features.shapes(built("cnn", colours), colours.shape)
    assert list(found.items()) == [
        ("0", (4, 32, 32)),
        ("1", (4, 32, 32)),
        ("2", (4, 16, 16)),
        ("3", (4, 16, 16)),
        ("4", (6, 16, 16)),
        ("5", (6, 16, 16)),
        ("6", (6, 16, 16)),
        ("7", (6, 1, 1)),
        ("8", (6,)),
        ("9", (7,)),
    ]


def test_asking_for_shapes_leaves_the_network_as_it_was():
    network = resnet_of()
    network.train()
    network[1].eval()  # as methods do that freeze statistics
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    features.shapes(network, (1, 28, 28))
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
