"""What a compression method is: a value that is called with a network (or a file) and the task.

A compression is a list of steps. Steps that change the network come before those that change the file.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeVar

import torch
from onnx import ModelProto
from torch import Tensor, nn

from kdbench.data.splits import Split
from kdbench.errors import BadSetting
from kdbench.training.batches import scaled
from kdbench.training.constraints import Constraint
from kdbench.training.criteria import LABELS, Criterion
from kdbench.training.features import Output
from kdbench.training.teacher import Teacher

T = TypeVar("T")

FINETUNE_SHARE = 0.25  # of train.epochs, for which what is left is trained on where nobody says how long


@dataclass(frozen=True)
class Examples:
    """What a method may know of the data: what it learns from, the validation split, and the names of the classes."""

    train: Split
    val: Split
    class_names: Sequence[str]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return self.val.shape

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    def to_calibrate(self, count: int) -> Tensor:
        """Return the first `count` training images, unshifted: float32 (count, channels, height, width) in [0, 1]."""
        return scaled(self.train.images[:count])


class Fit(Protocol):
    """The training loop, by the recipe of the run (`train.*`)."""

    def __call__(
        self,
        network: nn.Module,
        criterion: Criterion = LABELS,
        *,
        epochs: int | None = None,
        share: float = 1.0,
        until: int | None = None,
        lr_scale: float = 1.0,
        constraint: Constraint | None = None,
        examples: Split | None = None,
    ) -> None:
        """Train `network` in place.

        `epochs`: None is a `share` of those that the recipe has, 1 at least; 0 leaves the weights as they are.
        `until`: stop after that epoch of the schedule. `lr_scale`: times the recipe's learning rate. `constraint`:
        what must hold after every step, beside what earlier steps left behind. `examples`: images of the method's
        own, in the place of the transfer set. Raises `NotFinite` if the loss diverges.
        """


def no_fit(*_: object, **__: object) -> None:
    """Stand where the `Fit` of a `FileStep` would. Raises `TypeError`: a file is not trained."""
    raise TypeError("a FileStep changes a file, which cannot be trained: make it a NetworkStep")


class Run(Protocol):
    """A forward pass in the precision of the training, with gradients: for networks that a criterion runs itself."""

    def __call__(self, network: nn.Module, images: Tensor, layers: Sequence[str] = ()) -> Output:
        """Return logits and the outputs of `layers`, in float32, for `images` (n, channels, height, width)."""


def no_run(*_: object, **__: object) -> Output:
    """Stand where `Run` would. Raises `TypeError`."""
    raise TypeError("a FileStep changes a file: no network is run")


def no_other(_: float) -> nn.Module:
    """Stand where another network would be made. Raises `TypeError`."""
    raise TypeError("a FileStep changes a file: no network is made")


class Fastest(Protocol):
    """A race between files, on this machine."""

    def __call__(self, files: Sequence[ModelProto], than: ModelProto) -> int:
        """Return the number of the one that runs fastest beside `than`, one image at a time and in batches."""


def no_race(*_: object, **__: object) -> int:
    """Stand where `Fastest` would. Raises `TypeError`."""
    raise TypeError("a NetworkStep changes a network: no file is timed")


@dataclass(frozen=True)
class Task:
    """All that a method may use; it never sees Hydra, optimisers, paths or the test set.

    `seed` is the run's; torch's random state is seeded with it before a method is called. `run` gives what a network
    computes, as trainings run it; `another` the network as another seed initialises it, `scaled` as its own does with
    its widths times a number, and raises `BadSetting` if its model has none. Files can be timed by `fastest`.
    """

    data: Examples
    teachers: Sequence[Teacher]
    fit: Fit
    seed: int
    _initial: nn.Module
    run: Run = no_run
    another: Callable[[int], nn.Module] = no_other
    scaled: Callable[[float], nn.Module] = no_other
    fastest: Fastest = no_race

    @property
    def initial(self) -> nn.Module:
        """The network as its seed initialised it (or the given weights): a copy, to be changed at will."""
        return copy.deepcopy(self._initial)

    @property
    def teacher(self) -> Teacher:
        """The teacher, where there is one. Raises `BadSetting` if there is none, or more than one."""
        return only(self.teachers)


def only(teachers: Sequence[T]) -> T:
    """Return the teacher that there is. Raises `BadSetting` if there is none, or more than one."""
    if len(teachers) != 1:
        raise BadSetting(
            "this compression learns from several teachers, but its method from one: type compress.teacher=NAME"
            if teachers
            else "this compression needs a teacher: add `teacher: auto` to its YAML file"
        )
    return teachers[0]


class NetworkStep(ABC):
    """A step from network to network, such as pruning and distillation."""

    # True: as the first step it starts from the network's initial weights, so its baseline need not be trained.
    from_scratch: ClassVar[bool] = False
    # False: it learns nothing from the images of the data, or trains nothing.
    reads_images: ClassVar[bool] = True
    # False: it is another way to train, of which nobody asks how far it is from the network trained plainly.
    compared: ClassVar[bool] = True
    # True: though shapes may change, weights keep their names and places, and zeros stay zero.
    keeps_zeros: ClassVar[bool] = False
    # True: weights come out on grids, which the file holds as whole numbers.
    rounds_weights: ClassVar[bool] = False
    # True: it trains the network again as it was initialised, in the shapes that it had then.
    rewinds: ClassVar[bool] = False
    # True: its teachers are no teachers, but networks that it joins with its own, as an ensemble does.
    joins: ClassVar[bool] = False
    # How much each of several teachers counts, also when the student is compared with their mean; None: alike.
    teacher_weights: Sequence[float] | None = None

    @property
    def trains_under(self) -> float | None:
        """By how much the attacks that it trains under move a pixel of [0, 1] at most; None: there are none."""
        return None

    @property
    def needs_labels(self) -> bool:
        """Whether it learns from labels, which a transfer set of other classes cannot give."""
        return True

    def check(self, student: nn.Module, teachers: Sequence[nn.Module], data: Examples) -> None:  # noqa: B027
        """Raise `BadSetting` for networks or data that it cannot be done with.

        To be overridden by steps that ask for more than any network has. It is called before anything is trained,
        with networks as they were initialised: what it looks at are layers and shapes, never weights.
        """

    @abstractmethod
    def __call__(self, model: nn.Module, task: Task) -> nn.Module:
        """Return the compressed network. `model` itself is not changed."""

    def architecture(self, model: nn.Module, shapes: Mapping[str, torch.Size]) -> nn.Module:
        """Return a network, of whatever weights, shaped like what this step makes of `model`.

        To be overridden by steps that change shapes, which are known by it: stored weights are loaded into it, whose
        `shapes` are given by the names that they have in its `state_dict`.
        """
        return copy.deepcopy(model)

    def constraint(self, network: nn.Module) -> Constraint | None:
        """Return what must hold of `network`, which this step made, while later steps train it.

        To be overridden by steps that leave something to be held, which are known by it.
        """
        return None


class FileStep(ABC):
    """A step from ONNX file to ONNX file, such as int8 quantization."""

    # Whether it takes weights as float32 and stores them in another form; False: it changes other things of the file.
    stores_weights: ClassVar[bool] = True

    @abstractmethod
    def __call__(self, file: ModelProto, task: Task) -> ModelProto:
        """Return the compressed file. `file` itself is not changed. Of the task, `fit` may not be used."""
