"""Batch norm in a network that is to be rounded: multiplied into the layer before it where that changes nothing."""

import numpy as np
import pytest
import torch
from tests.compress.tasks import task_of, unfused
from torch import fx, nn

from kdbench.artifact.export import export
from kdbench.artifact.file import Artifact
from kdbench.compress.quantize.aware import QuantizeAware
from kdbench.compress.quantize.folding import fold_batch_norm
from kdbench.models.network import Network, Normalise

ALL = QuantizeAware(bits=8, images=64, learned=False, finetune_epochs=1, finetune_lr_scale=0.3)


class Twice(nn.Module):
    """One layer that is used two times, each with a batch norm of its own."""

    def __init__(self, bias):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.conv = nn.Conv2d(4, 4, 3, padding=1, bias=bias)
        self.norms = nn.ModuleList([nn.BatchNorm2d(4), nn.BatchNorm2d(4)])
        self.last = nn.Linear(4 * 28 * 28, 10)

    def forward(self, images):
        one = torch.relu(self.norms[0](self.conv(self.first(images))))
        return self.last(torch.flatten(torch.relu(self.norms[1](self.conv(one))), 1))


class Tied(nn.Module):
    """Two convolutions of the same weights, each under a batch norm of its own."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.convs = nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1, bias=False) for _ in range(2)))
        self.convs[1].weight = self.convs[0].weight
        self.norms = nn.ModuleList([nn.BatchNorm2d(4), nn.BatchNorm2d(4)])
        self.last = nn.Linear(4 * 28 * 28, 10)

    def forward(self, images):
        one = torch.relu(self.norms[0](self.convs[0](self.first(images))))
        return self.last(torch.flatten(torch.relu(self.norms[1](self.convs[1](one))), 1))


class Normed(nn.Module):
    """A convolution whose weights are computed from others (weight normalisation), under a batch norm."""

    def __init__(self):
        super().__init__()
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 4, 3, padding=1))
        self.norm, self.last = nn.BatchNorm2d(4), nn.Linear(4 * 28 * 28, 10)

    def forward(self, images):
        return self.last(torch.flatten(torch.relu(self.norm(self.conv(images))), 1))


class Sequences(nn.Module):
    """A linear layer on rows of an image, under a batch norm over the other axis, which is as long."""

    def __init__(self):
        super().__init__()
        self.rows, self.norm, self.last = nn.Linear(28, 28), nn.BatchNorm1d(28), nn.Linear(28 * 28, 10)

    def forward(self, images):
        return self.last(torch.flatten(torch.relu(self.norm(self.rows(images.squeeze(1)))), 1))


MODELS = {"bias": Twice(True), "no bias": Twice(False), "tied": Tied(), "normed": Normed(), "sequences": Sequences()}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_batch_norm_is_folded_only_where_that_changes_nothing(model, digits):
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.2, 4)
            module.weight.data.uniform_(0.5, 2)
    network = Network(Normalise([0.1], [0.3]), model.eval())
    made = ALL.start(network, task_of(digits))
    images = digits.val.images[:64].float() / 255
    before, after = network(images), made(images)
    assert (before - after).abs().max() < 0.1 * np.ptp(before.detach().numpy())
    ran = unfused(Artifact(export(made, digits.shape)).content, images)
    assert np.abs(ran - after.detach().numpy()).max() < 0.02 * np.ptp(ran)


def test_a_folded_batch_norm_is_gone_and_one_without_statistics_of_its_own_stays():
    for kept in (False, True):
        model = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4, track_running_stats=not kept))
        traced = fx.symbolic_trace(model.eval())
        images = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        before = traced(images)
        fold_batch_norm(traced)
        traced.recompile()
        assert torch.allclose(before, traced(images), atol=1e-5)
        assert any(isinstance(module, nn.BatchNorm2d) for module in traced.modules()) == kept


def test_layers_that_share_weights_still_share_them(digits):
    made = ALL.start(Network(Normalise([0.1], [0.3]), Tied().eval()), task_of(digits))
    first, second = (module for name, module in made.named_modules() if name.endswith(("convs.0", "convs.1")))
    assert first.weight is second.weight
