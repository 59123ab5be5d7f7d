"""Small networks for digits, 10 classes, of layers that compression gets wrong easily."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def depthwise() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU6()),
        *(nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False), nn.BatchNorm2d(6), nn.ReLU6()),
        *(nn.Conv2d(6, 12, 1), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, 10)),
    )


def grouped() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.ReLU()),
        *(nn.Conv2d(4, 8, 3, stride=2, groups=2), nn.ReLU(), nn.Conv2d(8, 6, 3, stride=2)),
        *(nn.Flatten(), nn.Linear(24, 10)),
    )


def layer_norm() -> nn.Sequential:
    hidden = (nn.Linear(784, 12), nn.LayerNorm(12), nn.ReLU(), nn.Linear(12, 8), nn.LayerNorm(8))
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(8, 10))


def instance_norm() -> nn.Sequential:
    first = (nn.Conv2d(1, 6, 3, stride=2), nn.InstanceNorm2d(6, affine=True), nn.ReLU(), nn.Conv2d(6, 8, 3, stride=2))
    second = (nn.InstanceNorm2d(8, affine=True, track_running_stats=True), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    return nn.Sequential(*first, *second, nn.Linear(32, 10))


def tied_weights() -> nn.Sequential:
    first, second = nn.Linear(20, 20), nn.Linear(20, 20)
    second.weight = first.weight
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 20), nn.ReLU()),
        *(first, nn.ReLU(), second, nn.ReLU(), nn.Linear(20, 10)),
    )


def two_names() -> nn.Sequential:
    shared = nn.Linear(20, 20)
    before = (nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 20), nn.ReLU())
    return nn.Sequential(*before, shared, nn.ReLU(), shared, nn.ReLU(), nn.Linear(20, 10))


def weight_norm() -> nn.Sequential:
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(12, 12))
    before = (nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU())
    return nn.Sequential(*before, normed, nn.ReLU(), nn.Linear(12, 10))


class CalledTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.twice = nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.wide, self.head = nn.Conv2d(8, 16, 3, stride=2), nn.Linear(576, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.stem(images))
        x = F.relu(self.twice(F.relu(self.twice(x))))
        return self.head(self.wide(x).flatten(1))


class Auxiliary(nn.Module):
    """With a layer that takes no part."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.unused = nn.Linear(784, 16), nn.Linear(16, 10), nn.Linear(16, 6)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(F.relu(self.body(images.flatten(1))))


class Functional(nn.Module):
    """Without layers."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(0.03 * torch.randn(10, 784))

    def forward(self, images: Tensor) -> Tensor:
        return F.linear(images.flatten(1), self.matrix)


class Separable(nn.Sequential):
    """Depthwise and grouped convolutions, each under a batch norm."""

    def __init__(self) -> None:
        super().__init__(
            *(nn.Conv2d(1, 4, 3, stride=2, bias=False), nn.BatchNorm2d(4), nn.ReLU6()),
            *(nn.Conv2d(4, 4, 3, groups=4, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
            *(nn.Conv2d(4, 6, 1, groups=2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(150, 10)),
        )


class OneDimensional(nn.Sequential):
    """Convolutions over rows alone."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(2), nn.Conv1d(1, 4, 9, stride=8), nn.ReLU(), nn.Conv1d(4, 10, 97), nn.Flatten())


class Mixed(nn.Module):
    """A convolution over rows under linear layers and a layer norm."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.norm = nn.Conv1d(28, 8, 5), nn.LayerNorm(24)
        self.hidden, self.last = nn.Linear(24, 12), nn.Linear(96, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(F.relu(self.hidden(self.norm(self.rows(images.flatten(1, 2))))).flatten(1))


class Tied(nn.Module):
    """Two layers of one parameter, and a function of it transposed."""

    def __init__(self, transposed: bool) -> None:
        super().__init__()
        self.first, self.one, self.other = nn.Linear(784, 20), nn.Linear(20, 20), nn.Linear(20, 20)
        self.other.weight, self.last, self.transposed = self.one.weight, nn.Linear(20, 10), transposed

    def forward(self, images: Tensor) -> Tensor:
        found = F.relu(self.other(F.relu(self.one(F.relu(self.first(images.flatten(1)))))))
        if self.transposed:
            found = F.relu(F.linear(found, self.one.weight.t()))
        return self.last(found)


class Again(nn.Module):
    """A layer that is called twice, a second head that is never called, and a parameter in a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.last = nn.Linear(784, 24), nn.Linear(24, 24), nn.Linear(24, 10)
        self.second_head = nn.Sequential(nn.Linear(24, 12), nn.BatchNorm1d(12), nn.Linear(12, 10))
        self.place = nn.Parameter(torch.linspace(-1, 1, 24))

    def forward(self, images: Tensor) -> Tensor:
        found = F.relu(self.first(images.flatten(1)) + self.place)
        found = F.relu(self.again(found)) + 2 * self.place
        return self.last(F.relu(self.again(found)))


class OneLayer(nn.Module):
    """One layer, called twice, is all there is."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(10, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(F.relu(self.layer(images[:, 0, 9:19, 9:19].mean(1))))


class Attention(nn.Module):
    """A layer of torch's that holds others and runs them in one go."""

    def __init__(self, head: bool) -> None:
        super().__init__()
        self.rows = nn.TransformerEncoderLayer(28, 4, 32, dropout=0, batch_first=True)
        self.last = nn.Linear(784, 10) if head else nn.Identity()
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        found = self.rows(images.squeeze(1))
        return self.last(found.flatten(1)) if self.head else found.mean(1)[:, :10]


NETWORKS = (
    *(depthwise, grouped, layer_norm, instance_norm, tied_weights, two_names, weight_norm),
    *(CalledTwice, Auxiliary),
)
