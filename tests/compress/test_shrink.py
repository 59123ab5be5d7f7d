"""The control: the same architecture with fewer parameters."""

from dataclasses import replace

import pytest
import torch
from tests.compress.tasks import task_of
from torch import nn

from kdbench.compress.shrink import Shrink
from kdbench.errors import BadSetting
from kdbench.models.network import parameters
from kdbench.settings.network import NetworkSpec, Recipe


def made(widths: float) -> nn.Module:
    width = max(1, round(40 * widths))
    return nn.Sequential(nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 10))


@pytest.mark.parametrize("keep", [0.03, 0.25, 0.5, 0.99, 1.0])
def test_it_is_the_widest_of_at_most_so_many_parameters_and_trained_like_a_baseline(keep, few):
    fits = []
    task = replace(task_of(few, lambda network, *args, **knobs: fits.append((network, args, knobs))), scaled=made)
    thin = Shrink(keep)(made(1), task)
    assert fits == [(thin, (), {})]
    width = thin[1].out_features
    assert parameters(thin) <= keep * parameters(made(1)) < parameters(made((width + 1) / 40)) or width == 40
    shapes = {name: tensor.shape for name, tensor in thin.state_dict().items()}
    again = Shrink(keep).architecture(made(1), shapes)
    again.load_state_dict(thin.state_dict())
    assert torch.equal(again(torch.ones(1, 784)), thin(torch.ones(1, 784)))


def test_less_than_a_width_of_one_is_refused(few):
    with pytest.raises(BadSetting, match=r"compress\.keep=0\.01 leaves less than a width of 1: type 0\.0"):
        Shrink(0.01)(made(1), replace(task_of(few), scaled=made))


def test_models_without_widths_have_no_thinner_ones():
    spec = NetworkSpec("mine", {"_target_": "x", "widths": [16, 3]}, Recipe(1, 8, 0.1, 0.0, 0), 0)
    assert spec.with_widths_times(0.25).model == {"_target_": "x", "widths": [4, 1]}
    with pytest.raises(BadSetting, match="model=mine has no widths to be changed"):
        replace(spec, model={"_target_": "x"}).with_widths_times(0.5)
