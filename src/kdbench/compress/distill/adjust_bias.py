"""Biases of classes that a transfer set lacked, moved as validation asks (Hinton et al. 2015, section 3)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdbench.compress.step import Examples, NetworkStep, Task
from kdbench.errors import BadSetting
from kdbench.settings import checks
from kdbench.training.batches import scaled

AT_ONCE = 500  # images
LOOKED_AT = 8  # images, to see which bias is that of the logits


@dataclass(frozen=True)
class AdjustBias(NetworkStep):
    """Add one number to the logits of some classes: `by`, or, if that is None, what is best on validation."""

    classes: Sequence[object]  # their names
    by: float | None = None

    def __post_init__(self) -> None:
        checks.several("compress.classes", self.classes, "3")
        if self.by is not None:
            checks.real("compress.by", self.by, "(-inf, inf)")

    def check(self, student: nn.Module, teachers: Sequence[nn.Module], data: Examples) -> None:
        """Raise `BadSetting` for a network without a bias, and for classes there are not."""
        names = list(data.class_names)
        missing = [str(name) for name in self.classes if str(name) not in names]
        if missing:
            raise BadSetting(f"compress.classes={missing[0]} is no class: choose from {', '.join(names)}")
        if {str(name) for name in self.classes} == set(names):
            raise BadSetting("compress.classes names all classes, of which moving all changes nothing: name some")
        self.require_logits_move(student, data)

    def require_logits_move(self, student: nn.Module, data: Examples) -> None:
        """Raise `BadSetting` unless a bias is added to the logits themselves: what is found is not always theirs."""
        network, images = copy.deepcopy(student).cpu().eval(), data.val.images[:LOOKED_AT]
        bias, before = last_bias(network, data.classes), logits_of(network, images)
        with torch.no_grad():
            bias.add_(1.0)
        if not torch.allclose(logits_of(network, images) - before, torch.ones(()), atol=1e-3):
            raise BadSetting(
                "the last linear layer of the network does not give the logits as they are, so that its bias cannot "
                "be moved in their place: make it the last in the order of its layers"
            )

    def __call__(self, model: nn.Module, task: Task) -> nn.Module:
        """Return the network with another bias. Raises `BadSetting` as `check` does."""
        self.check(model, (), task.data)
        network, names = copy.deepcopy(model).cpu().eval(), list(task.data.class_names)
        moved = torch.zeros(len(names))
        moved[[names.index(str(name)) for name in self.classes]] = 1
        bias = last_bias(network, len(names))
        by = (
            best_shift(logits_of(network, task.data.val.images), task.data.val.labels, moved)
            if self.by is None
            else self.by
        )
        with torch.no_grad():
            bias.add_(by * moved)
        return network


def last_bias(network: nn.Module, classes: int) -> nn.Parameter:
    """Return the bias of the layer that gives the logits. Raises `BadSetting` if there is none."""
    linear = [
        module for module in network.modules() if isinstance(module, nn.Linear) and module.out_features == classes
    ]
    if not linear or linear[-1].bias is None:
        raise BadSetting("the network has no last layer with a bias, which could be moved")
    return linear[-1].bias


@torch.no_grad()
def logits_of(network: nn.Module, images: Tensor) -> Tensor:
    """Return the logits (n, classes) for images uint8 (n, channels, height, width)."""
    return torch.cat([network(scaled(part)) for part in images.split(AT_ONCE)])


def best_shift(logits: Tensor, labels: Tensor, moved: Tensor) -> float:
    """Return what to add to the logits of the classes that `moved` has ones for, so that most labels are hit.

    Exact: for each image there is a threshold at which one of the moved classes overtakes the others. Of several
    equally good, the middle of the widest stretch.
    """
    inside = logits.masked_fill(moved == 0, -torch.inf).max(1)
    outside = logits.masked_fill(moved == 1, -torch.inf).max(1)
    threshold = outside.values - inside.values  # above it the image is given to a moved class
    gains = (inside.indices == labels).int() - (outside.indices == labels).int()
    order = threshold.argsort()
    right = torch.cat([torch.zeros(1, dtype=torch.int), gains[order].cumsum(0)])  # beyond as many thresholds
    ends = threshold[order]
    ends = torch.cat([ends[:1] - 2, ends, ends[-1:] + 2])
    widths = ends[1:] - ends[:-1]
    reached = right.masked_fill(widths <= 0, -len(labels) - 1)  # between two equal thresholds there is no number
    best = int(torch.where(reached == reached.max(), widths, -1).argmax())
    return float((ends[best] + ends[best + 1]) / 2)
