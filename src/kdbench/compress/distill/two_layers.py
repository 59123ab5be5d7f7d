"""Methods that compare a layer of the student with one of its teacher: those that are named, or at like places."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from torch import nn

from kdbench.compress.distill import layers
from kdbench.compress.distill.layers import Layer, Shape
from kdbench.compress.step import Examples, NetworkStep, only


@dataclass(frozen=True)
class OfTwoLayers(NetworkStep):
    """Trains the student from scratch. None: the layer that `found` chooses, the last before the logits."""

    student_layer: str | None = field(default=None, kw_only=True)
    teacher_layer: str | None = field(default=None, kw_only=True)

    from_scratch: ClassVar[bool] = True
    found: ClassVar[Callable[[nn.Module, Sequence[int], object, str], Layer]] = staticmethod(layers.last)

    def layers(self, student: nn.Module, teacher: nn.Module, shape: Shape) -> tuple[Layer, Layer]:
        """Return name and shape of the layer of each. Raises `BadSetting` for one that does not exist."""
        return (
            self.found(student, shape, self.student_layer, "student"),
            self.found(teacher, shape, self.teacher_layer, "teacher"),
        )

    def check(self, student: nn.Module, teachers: Sequence[nn.Module], data: Examples) -> None:
        """Raise `BadSetting` for layers that do not exist."""
        self.layers(student, only(teachers), data.shape)
