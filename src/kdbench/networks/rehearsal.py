"""What a method refuses, such as a layer that there is not, it refuses before its teachers are trained."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

from torch import nn

from kdbench.compress.order import method_of
from kdbench.compress.step import Examples, NetworkStep, Task
from kdbench.settings.network import NetworkSpec
from kdbench.training import features
from kdbench.training.runtime import Runtime
from kdbench.training.teacher import Teacher


class Accepted(BaseException):
    """The method has come to its training. No `except Exception` of its own shall stop this."""


def accept(*_: object, **__: object) -> None:
    """Stand where training would begin."""
    raise Accepted


def shapes_are_known(spec: NetworkSpec, method: NetworkStep) -> bool:
    """Whether the networks that `method`, the last step of `spec`, is given have the layers that they begin with.

    Not where a step before it, or one of a teacher's, gives other layers, nor where it puts networks together itself.
    """
    steps = [*spec.steps[:-1], *(step for teacher in spec.steps[-1].teachers for step in teacher.steps)]
    return not any(getattr(made, "changes_shapes", False) for made in (method, *map(method_of, steps)))


def rehearse(
    method: NetworkStep,
    student: nn.Module,
    teachers: Sequence[nn.Module],
    examples: Examples,
    runtime: Runtime,
    another: Callable[[int], nn.Module],
) -> None:
    """Call `method` with networks that nobody trained yet, up to where it begins to train. Raises `BadSetting`."""
    known = [Teacher(teacher, runtime) for teacher in teachers]
    task = Task(examples, known, accept, 0, student, features.run, another)
    try:
        method(copy.deepcopy(student), task)
    except Accepted:
        return
