"""Attention transfer (Zagoruyko and Komodakis 2017): the student looks where its teacher looks."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.compress.distill.layers import Shape, after_weights
from kdbench.compress.step import Examples, NetworkStep, Task, only
from kdbench.errors import BadSetting
from kdbench.settings import checks
from kdbench.training import features
from kdbench.training.batches import Batch
from kdbench.training.criteria import Criterion, cross_entropy
from kdbench.training.features import Output
from kdbench.training.teacher import Teacher

Shapes = Mapping[str, tuple[int, ...]]
"""The maps that layers give for one image, by their names: (channels, height, width)."""


@dataclass(frozen=True)
class Attention(NetworkStep):
    """Train the network from scratch on the labels, and on the attention maps of its teacher's layers.

    `student_layers` and `teacher_layers` name as many layers, compared in their order; where their maps differ in
    size the larger is averaged down. None: in both networks the last layer at each size that both have, or, if they
    have none in common, the last that gives maps at all.
    """

    beta: float  # weight of the attention maps, > 0
    student_layers: Sequence[str] | None = None
    teacher_layers: Sequence[str] | None = None

    from_scratch: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.real("compress.beta", self.beta, "(0, inf)")
        named = {"student_layers": self.student_layers, "teacher_layers": self.teacher_layers}
        given = [layers for layers in named.values() if layers is not None]
        for name, layers in named.items():
            if layers is not None:
                checks.several(f"compress.{name}", layers, "2,5")
        if len(given) == 1 or (given and len(given[0]) != len(given[1])):
            raise BadSetting("compress.student_layers and compress.teacher_layers name as many layers, in pairs")

    def check(self, student: nn.Module, teachers: Sequence[nn.Module], data: Examples) -> None:
        """Raise `BadSetting` for layers that do not exist or give no maps."""
        self.pairs(student, only(teachers), data.shape)

    def __call__(self, model: nn.Module, task: Task) -> nn.Module:
        """Return the student. Raises `BadSetting` for layers that do not exist or give no maps."""
        student, teacher = copy.deepcopy(model), task.teacher
        pairs = self.pairs(student, teacher.network, task.data.shape)
        task.fit(student, AttentionMaps(teacher, pairs, self.beta))
        return student

    def pairs(self, student: nn.Module, teacher: nn.Module, shape: Shape) -> list[tuple[str, str]]:
        """Return the names of layers whose maps are compared. Raises `BadSetting` for those that have none."""
        networks = (student, teacher)
        both = [maps(after_weights(network, features.shapes(network, shape))) for network in networks]
        if not all(both):
            raise BadSetting("attention needs layers that give maps in both networks: choose cnn or resnet models")
        if self.student_layers is not None and self.teacher_layers is not None:
            # Their names may be numbers, which YAML reads as such.
            pairs = list(zip(map(str, self.student_layers), map(str, self.teacher_layers), strict=True))
        else:
            pairs = common_layers(*both)
        for network, known, names in zip(networks, both, zip(*pairs, strict=True), strict=True):
            for name in names:
                features.submodule(network, name)
                if name not in known:
                    raise BadSetting(f"layer {name} gives no maps: choose from {', '.join(known)}")
        return pairs


def maps(shapes: Mapping[str, tuple[int, ...]]) -> Shapes:
    """Return the layers that give maps (channels, height, width) larger than one position.

    Of a single position every map is the same, once it has length 1.
    """
    return {name: shape for name, shape in shapes.items() if len(shape) == 3 and shape[1] * shape[2] > 1}


def common_layers(student: Shapes, teacher: Shapes) -> list[tuple[str, str]]:
    """Return pairs of the last layers, in both networks, at each size of map that both have."""
    # A later layer of the same size takes the place of an earlier one.
    last = [{shape[1:]: name for name, shape in shapes.items()} for shapes in (student, teacher)]
    common = [size for size in last[0] if size in last[1]]
    if common:
        return [(last[0][size], last[1][size]) for size in common]
    return [(list(last[0].values())[-1], list(last[1].values())[-1])]


class AttentionMaps(Criterion):
    """`CE(labels) + beta / 2 * sum over pairs of || Q_S / ||Q_S|| - Q_T / ||Q_T|| ||`, the mean over the batch.

    Equation 2 of the paper (Paying More Attention to Attention) with p = 2; Q is `attention_map`. `pairs` are names
    of layers of the student and of the teacher.
    """

    def __init__(self, teacher: Teacher, pairs: Sequence[tuple[str, str]], beta: float) -> None:
        self.layers = tuple(own for own, _ in pairs)
        self.teacher = teacher
        self.teacher_layers = tuple(other for _, other in pairs)
        self.beta = beta

    def __call__(self, output: Output, batch: Batch) -> Tensor:
        """Return the loss."""
        theirs = self.teacher(batch, self.teacher_layers).features
        distance = sum(
            map_distance(output.features[own], theirs[other])
            for own, other in zip(self.layers, self.teacher_layers, strict=True)
        )
        return cross_entropy(output.logits, batch.labels) + self.beta / 2 * distance


def attention_map(maps: Tensor) -> Tensor:
    """Return the sum of squares over channels, (n, height * width), each of length 1.

    `maps`: (n, channels, height, width). Section 3.1 of the paper, F_sum², of activations: of maps that come before
    a ReLU, the negative part is left out.
    """
    return F.normalize(F.relu(maps).pow(2).sum(1).flatten(1))


def map_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean over the batch of the distance of both attention maps; maps (n, channels, height, width)."""
    size = [min(own, other) for own, other in zip(student.shape[2:], teacher.shape[2:], strict=True)]
    both = [m if list(m.shape[2:]) == size else F.adaptive_avg_pool2d(m, size) for m in (student, teacher)]
    # Where both are equal the root has no gradient of its own.
    squares = (attention_map(both[0]) - attention_map(both[1])).pow(2).sum(1)
    return squares.clamp_min(1e-12).sqrt().mean()
