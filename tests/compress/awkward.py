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


NETWORKS = (
    *(depthwise, grouped, layer_norm, instance_norm, tied_weights, two_names, weight_norm),
    *(CalledTwice, Auxiliary),
)
