"""The control: the same architecture with fewer parameters."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tests.compress.tasks import task_of
from torch import nn

from kdbench.compress.shrink import Shrink
from kdbench.errors import BadSetting
from kdbench.models.cnn import CNN
from kdbench.models.mlp import MLP
from kdbench.models.network import parameters
from kdbench.models.resnet import ResNet
from kdbench.settings.network import NetworkSpec, Recipe


def made(widths: float) -> nn.Module:
    width = max(1, round(40 * widths))
    return nn.Sequential(nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 10))


WHOLE = parameters(made(1))
ALL = [*((Shrink(keep), keep * WHOLE) for keep in (0.03, 0.25, 0.5, 0.99, 1.0)), (Shrink(None), WHOLE / 4)]
ALL += [(Shrink(None, size), size / 4) for size in (4_000, 20_001, 4 * WHOLE)]


@pytest.mark.parametrize(("method", "most"), ALL, ids=str)
def test_it_is_the_widest_of_at_most_so_many_parameters_and_trained_like_a_baseline(method, most, few):
    fits = []
    task = replace(task_of(few, lambda network, *args, **knobs: fits.append((network, args, knobs))), scaled=made)
    thin = method(made(1), task)
    assert fits == [(thin, (), {})]
    width = thin[1].out_features
    assert parameters(thin) <= most < parameters(made((width + 1) / 40)) or (width == 40 and most == WHOLE)
    shapes = {name: tensor.shape for name, tensor in thin.state_dict().items()}
    again = method.architecture(made(1), shapes)
    again.load_state_dict(thin.state_dict())
    assert torch.equal(again(torch.ones(1, 784)), thin(torch.ones(1, 784)))


def thinner(family: str) -> Callable[[float], nn.Module]:
    """A model of so large a share of its widths."""

    def scaled(share: float) -> nn.Module:
        widths = [max(1, round(share * width)) for width in (8, 12, 16)]
        if family == "mlp":
            return MLP(widths, (1, 28, 28), 10)
        if family == "cnn":
            return CNN(widths, 1, "flatten", (1, 28, 28), 10)
        return ResNet(widths, 1, (1, 28, 28), 10)

    return scaled


@pytest.mark.parametrize("family", ["mlp", "cnn", "resnet"])
def test_a_thinner_model_of_each_family_is_made_again_of_the_shapes_of_its_weights(family, few):
    scaled = thinner(family)
    thin = Shrink(0.4)(scaled(1.0), replace(task_of(few, lambda *_, **__: None), scaled=scaled)).eval()
    again = Shrink(0.4).architecture(scaled(1.0), {name: tensor.shape for name, tensor in thin.state_dict().items()})
    again.load_state_dict(thin.state_dict())
    images = few.val.images[:5].float() / 255
    assert torch.equal(again.eval()(images), thin(images))


def test_as_many_bytes_as_a_file_of_so_many_parameters_are_the_same_network(few):
    task = replace(task_of(few, lambda *_, **__: None), scaled=made)
    by_share = Shrink(0.3)(made(1), task)
    assert parameters(Shrink(None, 4 * parameters(by_share))(made(1), task)) == parameters(by_share)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (Shrink(0.01), r"compress\.keep=0\.01 leaves less than a width of 1: type 0\.0\d+ or more"),
        (Shrink(None, 100), r"compress\.bytes=100 leaves less than a width of 1: type 3220 or more"),
        (Shrink(None, 4 * WHOLE + 1), rf"compress\.bytes={4 * WHOLE + 1} is more than .*: type {4 * WHOLE} or less"),
    ],
    ids=str,
)
def test_what_no_thinner_network_has_is_refused_and_what_to_type_instead_is_not(method, message, few):
    task = replace(task_of(few, lambda *_, **__: None), scaled=made)
    with pytest.raises(BadSetting, match=message) as error:
        method(made(1), task)
    advised = float(str(error.value).split()[-3])
    (Shrink(None, int(advised)) if method.bytes else Shrink(advised))(made(1), task)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ((0.0,), r"compress\.keep=0\.0 is out of range"),
        ((1.5,), r"compress\.keep=1\.5 is out of range"),
        ((None, 0), r"compress\.bytes=0 is out of range"),
        ((None, 2.5), r"compress\.bytes=2\.5 is not a whole number"),
        ((0.5, 4_000), r"compress\.keep=0\.5 and compress\.bytes=4000 both say how much is left: type one"),
    ],
)
def test_knobs_out_of_range_are_named(knobs, message):
    with pytest.raises(BadSetting, match=message):
        Shrink(*knobs)


def test_models_without_widths_have_no_thinner_ones():
    spec = NetworkSpec("mine", {"_target_": "x", "widths": [16, 3]}, Recipe(1, 8, 0.1, 0.0, 0), 0)
    assert spec.with_widths_times(0.25).model == {"_target_": "x", "widths": [4, 1]}
    with pytest.raises(BadSetting, match="model=mine has no widths to be changed"):
        replace(spec, model={"_target_": "x"}).with_widths_times(0.5)
