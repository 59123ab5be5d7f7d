"""Accuracy under attack."""

import pytest
import torch
from tests.compress.tasks import used
from torch import nn

from kdbench.artifact.export import export
from kdbench.artifact.session import session
from kdbench.data.splits import Split
from kdbench.errors import BadSetting
from kdbench.evaluation import robustness
from kdbench.evaluation.robustness import robust_accuracy
from kdbench.models.network import Network, Normalise
from kdbench.models.onnx_file import OnnxFile


class BrightLeft(nn.Module):
    """Whether the left half is brighter than the right, by how much."""

    def forward(self, images):
        half = images.shape[3] // 2
        apart = images[..., :half].mean((1, 2, 3)) - images[..., half:].mean((1, 2, 3))
        return torch.stack([apart, -apart], 1)


def halves(difference: float) -> Split:
    """Images whose one half is brighter by `difference`, left (0) or right (1)."""
    images = torch.full((8, 1, 8, 8), 100, dtype=torch.uint8)
    images[:4, ..., :4] += round(255 * difference)
    images[4:, ..., 4:] += round(255 * difference)
    return Split(images, torch.tensor([0] * 4 + [1] * 4))


def network() -> Network:
    return Network(Normalise((0.0,), (1.0,)), BrightLeft())


def run(images):
    return network()(torch.from_numpy(images)).numpy()


@pytest.mark.parametrize(("difference", "eps", "expected"), [(0.4, 0.15, 1.0), (0.4, 0.25, 0.0), (0.1, 0.04, 1.0)])
def test_an_image_is_read_as_long_as_the_bound_is_below_its_margin(difference, eps, expected):
    """Both halves can move by eps against each other: what is apart by less than 2 eps is turned round."""
    assert robust_accuracy(network(), run, halves(difference), eps) == expected


class Viewed(nn.Module):
    """A network whose own code takes no convolution with the channels last."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.linear = nn.Conv2d(1, 3, 3), nn.Linear(108, 2)

    def forward(self, images):
        return self.linear(self.conv(images).view(len(images), -1))


def test_a_network_that_stands_no_channels_last_is_attacked_as_it_is():
    own = Network(Normalise((0.0,), (1.0,)), Viewed())
    with torch.no_grad():
        found = robust_accuracy(own, lambda images: own(torch.from_numpy(images)).detach().numpy(), halves(0.5), 0.01)
    assert 0 <= found <= 1


def test_examples_are_made_on_the_network_and_read_through_the_file():
    assert robust_accuracy(network(), lambda images: -run(images), halves(0.5), 0.01) == 0.0


def test_the_same_network_has_the_same_figure_whatever_was_drawn_before(few, monkeypatch):
    monkeypatch.setattr(robustness, "STEPS", 3)
    trained = used("cnn", few)
    file = session(export(trained, few.shape).SerializeToString(), 1)
    figures = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        figures.append(robust_accuracy(trained, file, few.test[:40], 0.1))
        assert torch.equal(torch.get_rng_state(), before)
    assert figures[0] == figures[1]
    assert all(parameter.requires_grad for parameter in trained.parameters())


def test_a_file_without_gradients_is_one_line():
    with pytest.raises(BadSetting, match="robust_eps needs gradients"):
        robust_accuracy(Network(Normalise((0.0,), (1.0,)), OnnxFile((1, 8, 8), 2)), run, halves(0.4), 0.1)


@pytest.mark.parametrize("scale", [1, 1000])
def test_large_logits_hide_nothing(scale):
    """Of the cross-entropy the gradient would vanish."""
    scaled = Network(Normalise((0.0,), (1.0,)), nn.Sequential(BrightLeft(), Times(scale)))
    assert robust_accuracy(scaled, run, halves(0.4), 0.25) == 0.0


class Times(nn.Module):
    def __init__(self, number):
        super().__init__()
        self.number = number

    def forward(self, given):
        return given * self.number
