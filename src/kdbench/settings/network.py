"""A network described by how it is made: a value, whose hash is what the store knows it by. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kdbench.errors import BadSetting
from kdbench.settings import checks, normalisation, schema

ONNX_FILE = "kdbench.models.onnx_file.OnnxFile"  # the model that is a file: its weights are the whole network
WHOLE = "whole"  # the view of who is shown all of an image
Node = dict[str, Any]
"""A `_target_`, the dotted name of a class or function, and the arguments it is called with."""


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: the settings `train.*`, which `schema.SETTINGS` defines."""

    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    shift: int
    flip: bool = False  # as in the runs of before it was there

    def check(self, prefix: str) -> None:
        """Raise `BadSetting` for the first field out of range; `prefix` is `train` or `teacher_train`."""
        for name, value in asdict(self).items():
            schema.check(f"{prefix}.{name}", value)

    def share(self, share: float) -> int:
        """Return a share of its epochs, 1 at least where that is more than nothing."""
        return max(1, round(share * self.epochs)) if share else 0


@dataclass(frozen=True)
class DataSpec:
    """A data set: `loader` names the function and its knobs, the rest says where to look."""

    name: str
    loader: Node
    root: Path | None
    cache: Path
    fingerprint: str = ""  # of the images and labels, once they are read
    train_images: int | None = None  # only the first so many of the training images; None: all


@dataclass(frozen=True)
class StepSpec:
    """One step of a compression: the method with its knobs, who teaches it, and what it learns from.

    `transfer` None is the training set of the run.
    """

    method: Node
    teachers: tuple[NetworkSpec, ...] = ()
    transfer: DataSpec | None = None


@dataclass(frozen=True)
class NetworkSpec:
    """Everything that decides a trained network, besides the data and the machine.

    `name` and `compress` are what model and compression are called, and decide nothing.

    `weights` is a file of a network trained elsewhere, which this one starts from, but for the parameters under the
    names `weights_except`, such as `fc`. `normalise` says how pixels are shown to it: see `settings.normalisation`;
    `view` what of an image: see `models.views`.
    Every one of the `steps` is done to what the one before made; the first, to the trained network, unless its method
    starts from scratch.
    """

    name: str
    model: Node
    recipe: Recipe
    seed: int
    weights: Path | None = None
    weights_except: tuple[str, ...] = ()
    normalise: str = normalisation.DATA
    view: str = WHOLE
    steps: tuple[StepSpec, ...] = ()
    compress: str = "baseline"
    seed_is_fixed: bool = False  # it does not follow the seed of the run: somebody typed it for this teacher

    @property
    def teachers(self) -> tuple[NetworkSpec, ...]:
        """The teachers of the last step that has any, or what it joins (see `compress.order.teachers_of`)."""
        return next((step.teachers for step in reversed(self.steps) if step.teachers), ())

    def with_steps(self, count: int) -> NetworkSpec:
        """Return the network after the first `count` of its steps."""
        return replace(self, steps=self.steps[:count])

    @property
    def uncompressed(self) -> NetworkSpec:
        """The same network before any step."""
        return replace(self, steps=(), compress="baseline")

    def with_seed(self, seed: int) -> NetworkSpec:
        """Return the same network under another seed; those of its teachers stay as far from it as they were."""
        if self.seed_is_fixed:
            return self
        apart = seed - self.seed
        steps = tuple(
            replace(step, teachers=tuple(teacher.with_seed(teacher.seed + apart) for teacher in step.teachers))
            for step in self.steps
        )
        return replace(self, seed=seed, steps=steps)

    def with_widths_times(self, scale: float) -> NetworkSpec:
        """Return the same network, its `widths` times a number (1 at least). Raises `BadSetting` if it has none."""
        widths = self.model.get("widths")
        if not isinstance(widths, list | tuple):
            raise BadSetting(f"model={self.name} has no widths to be changed: compress=shrink is for those that have")
        return replace(self, model={**self.model, "widths": [max(1, round(width * scale)) for width in widths]})

    def with_transfers(self, change: Callable[[DataSpec], DataSpec]) -> NetworkSpec:
        """Return the same network with every transfer set, those of its teachers included, as `change` makes it."""
        steps = tuple(
            replace(
                step,
                teachers=tuple(teacher.with_transfers(change) for teacher in step.teachers),
                transfer=change(step.transfer) if step.transfer else None,
            )
            for step in self.steps
        )
        return replace(self, steps=steps)

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"{self.name} seed {self.seed}"

    def check(self, prefix: str = "train") -> None:
        """Raise `BadSetting` for what is out of range, here or in a teacher; `prefix`: where its recipe is typed."""
        self.recipe.check(prefix)
        schema.check("seed", self.seed)
        if self.recipe.epochs == 0 and self.weights is None:
            given = "weights=FILE" if prefix == "train" else f"compress.teacher={{model:{self.name},weights:FILE}}"
            raise BadSetting(
                f"{prefix}.epochs=0 leaves {self.name} untrained: type {given} beside it, or {prefix}.epochs=1"
            )
        checks.name("model", self.name)
        checks.name("compress", self.compress)
        checks.plain("model", knobs_in_words(self.model, "model."))  # which stand in the row
        normalisation.statistics(self.normalise)
        schema.check("view", self.view)
        if self.weights is not None:
            checks.plain("weights", self.weights.name)
        self._check_left_out(prefix)
        for step in self.steps:
            for teacher in step.teachers:
                teacher.check("teacher_train")

    def _check_left_out(self, prefix: str) -> None:
        """Raise `BadSetting` unless what the given weights leave as it was initialised comes to be trained."""
        left_out = "+".join(self.weights_except)
        checks.plain("weights_except", left_out)
        if left_out and self.weights is None:
            raise BadSetting(f"weights_except={left_out} leaves out what nothing gives: type weights=FILE beside it")
        if left_out and self.recipe.epochs == 0:
            raise BadSetting(f"weights_except={left_out} leaves that untrained: type {prefix}.epochs=1, or more")


def knobs_in_words(node: Mapping[str, Any], prefix: str = "") -> str:
    """Return the knobs of a model or a compression as one line: `sparsity=0.9 finetune_epochs=3`."""
    structure = ("_target_", "steps", "teacher")
    knobs = {name: whole(value) for name, value in node.items() if name not in structure and value is not None}
    return " ".join(f"{prefix}{name}={str(value).replace(' ', '')}" for name, value in knobs.items())


def whole(value: Any) -> Any:
    """Return the same with 4.0 as 4: one setting, however it was typed."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: whole(item) for key, item in value.items()}
    return [whole(item) for item in value] if isinstance(value, list | tuple) else value


def plain(value: object) -> Any:
    """Return `value` as JSON and YAML can say it: dataclasses as mappings, paths as text, tuples as lists."""
    if hasattr(value, "__dataclass_fields__"):
        value = asdict(value)  # type: ignore[call-overload]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def network_from_plain(node: dict[str, Any]) -> NetworkSpec:
    """Return the network that `plain` gave `node` of. Raises what comes of reading anything else."""
    steps = tuple(
        StepSpec(
            dict(step["method"]),
            tuple(map(network_from_plain, step["teachers"])),
            data_from_plain(step["transfer"]) if step["transfer"] else None,
        )
        for step in node["steps"]
    )
    weights = None if node["weights"] is None else Path(node["weights"])
    apart = ("recipe", "weights", "weights_except", "steps")
    return NetworkSpec(
        **{name: value for name, value in node.items() if name not in apart},
        recipe=Recipe(**node["recipe"]),
        weights=weights,
        weights_except=tuple(node.get("weights_except", ())),
        steps=steps,
    )


def data_from_plain(node: dict[str, Any]) -> DataSpec:
    """Return the data set that `plain` gave `node` of."""
    root = None if node["root"] is None else Path(node["root"])
    return DataSpec(**node | {"root": root, "cache": Path(node["cache"])})
