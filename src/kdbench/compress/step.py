"""What a compression method is: a value that is called.

A compression is a list of steps. Steps that change the network come before those that change the file.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from onnx import ModelProto
from torch import Tensor, nn

from kdbench.errors import BadSetting
from kdbench.training.batches import Batch


@dataclass(frozen=True)
class Task:
    """What a step may use: training by the run's recipe, and the teacher, if the compression has one.

    `fit(network, epochs=..., lr_scale=..., loss=..., after_step=...)` trains in place; all but the network
    may be left out (see `training.fit.fit`). `teacher(batch)` gives logits (n, 10) without gradients.
    """

    fit: Callable[..., None]
    speaker: Callable[[Batch], Tensor] | None = None

    @property
    def teacher(self) -> Callable[[Batch], Tensor]:
        """The teacher. Raises `BadSetting` if the compression's YAML names none."""
        if self.speaker is None:
            raise BadSetting("this compression needs a teacher: add `teacher: auto` to its YAML file")
        return self.speaker


class NetworkStep(ABC):
    """A step from network to network, such as pruning and distillation."""

    # True: starts from the network's initial weights, so its baseline need not be trained first.
    from_scratch: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, model: nn.Module, task: Task) -> nn.Module:
        """Return the compressed network. `model` itself is not changed."""

    def architecture(self, model: nn.Module) -> nn.Module:
        """Return a network, of whatever weights, shaped like what this step makes of `model`.

        To be overridden by steps that change shapes: stored weights are loaded into it.
        """
        return copy.deepcopy(model)


class FileStep(ABC):
    """A step from ONNX file to ONNX file, such as int8 quantization."""

    @abstractmethod
    def __call__(self, file: ModelProto) -> ModelProto:
        """Return the compressed file. `file` itself is not changed."""
