"""Structured pruning: a smaller network of the channels that mattered."""

import re
from dataclasses import replace

import pytest
import torch
import torchvision
from tests.compress.awkward import Functional, depthwise
from tests.compress.tasks import task_of, used
from tests.training.methods import mlp_of
from torch import nn

from kdbench.compress.prune import channels
from kdbench.compress.prune.channels import Channels, without_channels
from kdbench.compress.prune.dependencies import prunable
from kdbench.compress.resized import macs
from kdbench.compress.step import Examples
from kdbench.errors import BadSetting
from kdbench.models.cnn import CNN

HALF = Channels(macs=0.5, multiple=1, finetune_epochs=0, finetune_lr_scale=1, statistics=0)
families = pytest.mark.parametrize("family", ["mlp", "cnn", "resnet"])


@families
def test_at_most_so_many_multiply_adds_are_left_and_its_shapes_are_those_it_says(family, few):
    network = used(family, few)
    pruned = HALF(network, task_of(few))
    assert 0.3 < macs(pruned, few.shape) / macs(network, few.shape) <= 0.5
    shapes = {name: tensor.shape for name, tensor in pruned.state_dict().items()}
    again = HALF.architecture(network, shapes)
    again.load_state_dict(pruned.state_dict())
    images = few.val.images[:9].float() / 255
    assert torch.equal(again.eval()(images), pruned.eval()(images))
    assert pruned(images).shape == network(images).shape
    for module in again.modules():
        if isinstance(module, nn.Conv2d):
            assert (module.out_channels, module.in_channels) == module.weight.shape[:2]


@families
def test_without_anything_to_remove_the_network_is_the_same(family, few):
    network, images = used(family, few), few.val.images[:9].float() / 255
    assert torch.equal(
        replace(HALF, macs=1.0, multiple=1)(network, task_of(few))(images),
        network(images),
    )


def test_channels_that_nobody_reads_go_first_and_change_nothing(few):
    network, images = used("cnn", few), few.val.images[:9].float() / 255
    first, norm, second = network[1][0], network[1][1], network[1][4]
    with torch.no_grad():
        first.weight[1:3] = norm.weight[1:3] = norm.bias[1:3] = 0
        second.weight[:, 1:3] = 0
    share = 1 - 2 / len(first.weight)
    pruned = without_channels(network, ["1.0"], few.shape, share, 1)
    assert len(pruned[1][0].weight) == len(first.weight) - 2
    assert torch.allclose(pruned(images), network(images), atol=1e-5)


def test_shortcuts_that_pad_channels_keep_them(few):
    network = used("resnet", few)
    names = prunable(network, few.shape)
    pruned = without_channels(network, names, few.shape, 0.5, 1)
    assert pruned(few.val.images[:2].float() / 255).shape == (2, few.classes)
    assert 0 < len(names) < sum(isinstance(module, nn.Conv2d) for module in network.modules())


def test_channels_come_in_multiples(few):
    network = mlp_of([24, 10])
    names = prunable(network, few.shape)
    for share, multiple, widths in ((0.6, 4, [16, 8]), (0.6, 8, [16, 8]), (0.3, 1, [7, 3]), (0.1, 4, [4, 4])):
        pruned = without_channels(network, names, few.shape, share, multiple)
        found = [module.out_features for module in pruned.modules() if isinstance(module, nn.Linear)]
        assert found == [*widths, 10]


def widths_of(network):
    return [module.out_channels for module in network.modules() if isinstance(module, nn.Conv2d)]


@pytest.mark.parametrize(
    ("widths", "macs_left", "multiple"),
    [([32, 96], 0.75, 16), ([24, 40], 0.5, 4), ([16, 32], 0.25, 1)],
)
def test_left_open_channels_come_in_the_largest_multiple_that_comes_near(few, widths, macs_left, multiple):
    network = CNN(widths, 1, "average", few.shape, few.classes).eval()
    pruned = replace(HALF, macs=macs_left, multiple=None).smaller(network, few.shape)
    typed = replace(HALF, macs=macs_left, multiple=multiple).smaller(network, few.shape)
    assert widths_of(pruned) == widths_of(typed)
    assert all(width % multiple == 0 for width in widths_of(pruned))
    assert 0.9 * macs_left <= macs(pruned, few.shape) / macs(network, few.shape) <= macs_left


def test_a_cut_that_would_remove_a_layer_is_refused(few):
    data = Examples(few.train, few.val, few.class_names)
    message = r"compress\.macs=1e-06 cannot be reached: with 1 in each layer that can lose channels, 0\."
    with pytest.raises(BadSetting, match=message) as error:
        replace(HALF, macs=1e-6).check(used("cnn", few), [], data)
    least = float(re.search(r"([\d.]+) of the multiply-adds", str(error.value))[1])
    replace(HALF, macs=least).check(used("cnn", few), [], data)


def test_a_network_of_which_no_layer_can_lose_channels_is_refused(few):
    data = Examples(few.train, few.val, few.class_names)
    for layers in ([nn.Linear(784, 10)], [nn.AvgPool2d(9), nn.Flatten(), nn.Linear(9, 10)], [Functional()]):
        with pytest.raises(BadSetting, match="finds no layer in the network whose channels can be removed"):
            HALF.check(nn.Sequential(nn.Flatten() if len(layers) == 1 else nn.Identity(), *layers), [], data)


def test_a_network_whose_channels_cannot_be_followed_is_refused_in_one_line():
    network = torchvision.models.shufflenet_v2_x0_5(num_classes=10).eval()
    with pytest.raises(BadSetting, match=r"Torch-Pruning cannot tell .*: choose another method") as error:
        prunable(network, (3, 32, 32))
    assert "\n" not in str(error.value)


def test_what_cannot_be_made_again_from_its_weights_is_refused_before_it_is_trained(few):
    class Sized(nn.Module):
        """With a layer whose size no stored weight tells."""

        def __init__(self):
            super().__init__()
            self.body, self.norm, self.head = (
                nn.Linear(784, 8),
                nn.LayerNorm(8, elementwise_affine=False),
                nn.Linear(8, 10),
            )

        def forward(self, images):
            return self.head(self.norm(self.body(images.flatten(1))))

    data = Examples(few.train, few.val, few.class_names)
    with pytest.raises(BadSetting, match="finds no layer"):
        HALF.check(Sized(), [], data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(channels, "prunable", lambda *_: ["body"])
        with pytest.raises(BadSetting, match=r"with fewer channels the network cannot be run: .*normalized_shape"):
            HALF.check(Sized(), [], data)


def test_a_depthwise_convolution_goes_with_the_one_it_reads(few):
    network = depthwise()
    assert prunable(network, few.shape) == ["0", "6"]
    pruned = without_channels(network, ["0"], few.shape, 0.5, 1)
    assert [(layer.in_channels, layer.out_channels, layer.groups) for layer in (pruned[0], pruned[3], pruned[6])] == [
        (1, 3, 1),
        (3, 3, 3),
        (3, 12, 1),
    ]


@pytest.mark.parametrize("name", ["macs", "multiple"])
def test_knobs_out_of_range_are_named(name):
    with pytest.raises(BadSetting, match=rf"compress\.{name}=0"):
        replace(HALF, **{name: 0})
