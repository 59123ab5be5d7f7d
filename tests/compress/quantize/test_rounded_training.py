"""What both methods that train through rounding move: of weights alone, and of activations as well."""

from dataclasses import replace

import pytest
import torch
from tests.compress.tasks import fitting, task_of, used
from torch import nn

from kdbench.compress.quantize.aware import QuantizeAware
from kdbench.compress.quantize.trained_weights import TrainedWeights


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("family", ["mlp", "cnn", "resnet"])
@pytest.mark.parametrize(
    "method",
    [
        QuantizeAware(bits=8, images=64, learned=False, finetune_epochs=1, finetune_lr_scale=0.3),
        TrainedWeights(bits=4, learned=False, finetune_epochs=1, finetune_lr_scale=0.3),
    ],
    ids=["activations too", "weights alone"],
)
def test_everything_is_trained_and_the_given_network_is_not(few, method, family, learned, recipe, machine):
    network = used(family, few)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    method = replace(method, learned=learned)
    start = replace(method, finetune_epochs=0)(network, task_of(few))
    made = method(network, task_of(few, fitting(few, recipe, machine)))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    scales = {name for name, _ in start.named_parameters() if name.endswith("scale")}
    moved = {name for name, value in start.named_parameters() if not torch.equal(value, made.get_parameter(name))}
    weights = {name for name, _ in start.named_parameters()} - scales
    assert moved >= weights | (scales if learned and isinstance(method, QuantizeAware) else set())
    assert {name for name in scales if made.get_parameter(name).requires_grad} == (scales if learned else set())
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in made.modules())
