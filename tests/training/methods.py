"""Tiny networks, criteria, constraints and methods that several tests train with."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn

from kdbench.compress.layers import weight_names
from kdbench.compress.prune.global_magnitude import GlobalMagnitude
from kdbench.compress.step import NetworkStep
from kdbench.data.splits import Splits
from kdbench.models.cnn import CNN
from kdbench.models.mlp import MLP
from kdbench.models.network import Network, build
from kdbench.models.resnet import ResNet
from kdbench.training.constraints import Constraint
from kdbench.training.criteria import Criterion, cross_entropy

DIGIT = (1, 28, 28)


def mlp_of(widths: Sequence[int] = (8,), seed: int = 0, shape=DIGIT, classes: int = 10) -> MLP:
    torch.manual_seed(seed)
    return MLP(list(widths), shape, classes)


def cnn_of(widths: Sequence[int] = (4,), seed: int = 0, head: str = "average", shape=DIGIT, classes: int = 10) -> CNN:
    torch.manual_seed(seed)
    return CNN(list(widths), 1, head, shape, classes)


def resnet_of(widths: Sequence[int] = (4, 8), seed: int = 0, shape=DIGIT, classes: int = 10) -> ResNet:
    torch.manual_seed(seed)
    return ResNet(list(widths), 1, shape, classes)


FAMILIES = {"mlp": mlp_of, "cnn": cnn_of, "resnet": resnet_of}
KNOBS = {
    "mlp": {"_target_": "kdbench.models.mlp.MLP", "widths": [8]},
    "cnn": {"_target_": "kdbench.models.cnn.CNN", "widths": [4, 6], "convs": 1, "head": "average"},
    "resnet": {"_target_": "kdbench.models.resnet.ResNet", "widths": [4, 6], "blocks": 1},
    "mnasnet": {"_target_": "kdbench.models.torchvision_model.classifier", "name": "mnasnet0_5"},
}


def built(family: str, splits: Splits, seed: int = 0) -> Network:
    """The network that kdbench makes for these data, normalisation in front."""
    return build(KNOBS[family], seed, splits.shape, splits.classes, splits.pixel_statistics)


class Double(nn.Module):
    """A network that computes in float64, where what is equal up to rounding stays so over many steps."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner.double()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.inner(images.double())


def flat(network: nn.Module) -> torch.Tensor:
    return torch.cat([tensor.detach().flatten().double() for tensor in network.state_dict().values()])


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two networks have the same weights and statistics, bit for bit."""
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def timeless(history):
    """A history without its seconds."""
    return [replace(epoch, seconds=0.0) for epoch in history]


class Scaled(Criterion):
    """The labels' cross-entropy times a number."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, output, batch):
        return self.factor * cross_entropy(output.logits, batch.labels)


class Hint(Criterion):
    """The first linear layer's values, mapped by a regressor of the criterion's own, are to equal shrunken pixels."""

    layers = ("1",)

    def __init__(self, width: int = 16) -> None:
        self.modules = nn.Sequential(nn.Linear(width, 49), nn.BatchNorm1d(49), nn.Dropout(0.1))
        self.modes: set[bool] = set()

    def __call__(self, output, batch):
        self.modes |= {module.training for module in self.modules.modules()}
        target = F.avg_pool2d(batch.images, 4).flatten(1)
        guess = self.modules(output.features["1"])
        return cross_entropy(output.logits, batch.labels) + F.mse_loss(guess, target)


class Ramp(Constraint):
    """Sparsity that rises with the steps, at the weights that were smallest on the whole; what is hidden stays so."""

    def __init__(self, sparsity: float) -> None:
        self.sparsity = sparsity
        self.masks: dict[str, torch.Tensor] = {}
        self.sums: dict[str, torch.Tensor] = {}  # of magnitudes, over all steps so far

    @torch.no_grad()
    def apply(self, network, step, total):
        for name in weight_names(network):
            weight = network.get_parameter(name)
            mask = self.masks.get(name, torch.ones_like(weight))
            self.sums[name] = (self.sums.get(name, torch.zeros_like(weight)) + weight.abs()) * mask
            hidden = int(self.sparsity * step / total * weight.numel())
            order = (self.sums[name] - (1 - mask)).flatten().argsort(stable=True)  # what is hidden comes first
            mask = mask.clone().flatten()
            mask[order[:hidden]] = 0
            self.masks[name] = mask.view_as(weight)
            weight.mul_(self.masks[name])

    def state(self):
        parts = {"mask": self.masks, "sum": self.sums}
        return {f"{part} {name}": value for part, own in parts.items() for name, value in own.items()}

    def restore(self, state):
        self.masks = {name[5:]: value for name, value in state.items() if name.startswith("mask ")}
        self.sums = {name[4:]: value for name, value in state.items() if name.startswith("sum ")}


class ForgetfulRamp(Ramp):
    """The mistake: what changes in it is not told to be its state."""

    def state(self):
        return {}

    def restore(self, state):
        pass


@dataclass(frozen=True)
class Twice(NetworkStep):
    """A method that fits twice, prunes in between, and uses torch's own random numbers."""

    def __call__(self, model, task):
        made = copy.deepcopy(model)
        for turn in range(2):
            with torch.no_grad():
                for name in weight_names(made):
                    weight = made.get_parameter(name)
                    weight += 0.01 * torch.randn_like(weight)
            if turn == 0:
                task.fit(made)
        return GlobalMagnitude(sparsity=0.5, finetune_epochs=1, finetune_lr_scale=0.3, statistics=0)(made, task)


@dataclass(frozen=True)
class Hinted(NetworkStep):
    """A method whose criterion has a regressor of its own, used in two trainings."""

    def __call__(self, model, task):
        made, criterion = copy.deepcopy(model), Hint()
        task.fit(made, criterion, epochs=1)
        task.fit(made, criterion, epochs=1)
        return made


@dataclass(frozen=True)
class Ramped(NetworkStep):
    """A method that prunes little by little, within one training."""

    sparsity: float = 0.8
    forgetful: bool = False

    def __call__(self, model, task):
        made = copy.deepcopy(model)
        task.fit(made, constraint=(ForgetfulRamp if self.forgetful else Ramp)(self.sparsity))
        return made
