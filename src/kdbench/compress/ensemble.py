"""Several networks of one architecture as one: the mean of their probabilities."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from kdbench.compress.step import Examples, NetworkStep, Task
from kdbench.errors import BadSetting
from kdbench.models.network import Network, Normalise, same_weights


@dataclass(frozen=True)
class Ensemble(NetworkStep):
    """Put the network and its teachers, which are of its architecture, side by side. Nothing is trained."""

    reads_images: ClassVar[bool] = False
    joins: ClassVar[bool] = True

    def check(self, student: nn.Module, teachers: Sequence[nn.Module], data: Examples) -> None:
        """Raise `BadSetting` without teachers, and for those of other architectures."""
        require_alike([student, *teachers])

    def __call__(self, model: nn.Module, task: Task) -> nn.Module:
        """Return them as one network. Raises `BadSetting` without teachers, and for those of other architectures."""
        members = [model, *(teacher.network for teacher in task.teachers)]
        require_alike(members)
        if any(same_weights(one, other) for one, other in itertools.combinations(members, 2)):
            raise BadSetting("compress=ensemble joins networks that differ, and two of these are one: train them")
        return joined([copy.deepcopy(member).cpu() for member in members])

    def architecture(self, model: nn.Module, shapes: Mapping[str, torch.Size]) -> nn.Module:
        """Return as many copies of the network as the stored weights have."""
        numbers = {name.split(".")[2] for name in shapes if name.startswith("1.members.")}
        return joined([copy.deepcopy(model) for _ in numbers])


def require_alike(members: Sequence[nn.Module]) -> None:
    """Raise `BadSetting` unless these are several networks of one architecture."""
    if len(members) < 2:
        raise BadSetting("compress=ensemble joins the network and its teachers: type compress.teacher=NAME")
    shapes = [{name: tensor.shape for name, tensor in member.state_dict().items()} for member in members]
    if any(others != shapes[0] for others in shapes) or len({repr(member) for member in members}) > 1:
        raise BadSetting("compress=ensemble joins networks of one architecture: type a model of that as teacher")


class MeanOf(nn.Module):
    """Networks side by side: images to the log of the mean of their probabilities (n, classes)."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        """Return log-probabilities, which are logits."""
        each = torch.stack([member(images).log_softmax(1) for member in self.members])
        return each.logsumexp(0) - torch.tensor(float(len(self.members))).log()


def joined(members: Sequence[nn.Module]) -> Network:
    """Return the networks, each with a normalisation of its own, as one."""
    return Network(Normalise((0.0,), (1.0,)), MeanOf(members))
