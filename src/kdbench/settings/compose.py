"""From what Hydra composed to a `Config` with every choice resolved. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kdbench.errors import BadSetting
from kdbench.settings import checks, earlier_run, equals, outputs_url, transfers
from kdbench.settings.choices import options
from kdbench.settings.composed import (
    called,
    data_from,
    file_named,
    group,
    not_null,
    require_choice,
    require_known,
    step_nodes,
    update,
)
from kdbench.settings.composing import compose
from kdbench.settings.config import Config
from kdbench.settings.network import DataSpec, NetworkSpec, Node, Recipe, StepSpec, knobs_in_words
from kdbench.settings.schema import Schema

DEFAULT_TEACHER = "resnet_deep"  # of a model whose YAML names none
AUTO, SELF = "auto", "self"


def resolve(
    composed: DictConfig, names: Mapping[str, str], overrides: Sequence[str], folders: Sequence[Path]
) -> Config:
    """Return the run's configuration.

    `names` are the choices made in each group, `overrides` what was typed, `folders` where choices are looked
    for. Raises `BadSetting` for anything out of range.
    """
    require_known("", composed, [field.name for field in fields(Schema)])
    outputs = outputs_of(composed)
    data = group(composed, "data")
    fallback, images = data.pop("fallback", None), data.get("train_images")
    composer = Composer(folders, outputs, not_null(group(composed, "teacher_train")))
    return Config(
        data=data_from(names["data"], data, outputs),
        fallback=_fallback(str(fallback), composed, overrides, folders, images) if fallback else None,
        network=composer.network(composed, names["model"], names["compress"]),
        settings=knobs_in_words(group(composed, "compress")),
        device=composed.device,
        precision=composed.precision,
        threads=composed.threads,
        robust_eps=composed.robust_eps,
        seeds_together=composed.seeds_together,
        checkpoint_seconds=composed.checkpoint_seconds,
        again=composed.again,
        retrain=composed.retrain,
        outputs=outputs,
        remote=composed.remote and outputs_url.canonical("remote", composed.remote),
    )


@dataclass(frozen=True)
class Composer:
    """Makes descriptions of networks: of the one that ships, and by the same rules of its teachers.

    `teacher_train` holds what was said of the recipe of all teachers (`teacher_train.epochs=3`).
    """

    folders: Sequence[Path]
    outputs: Path
    teacher_train: dict[str, Any]

    def network(self, composed: DictConfig, model_name: str, compress_name: str) -> NetworkSpec:
        """Return the network that `composed` describes, with the steps of its compression."""
        model = group(composed, "model")
        model_name = called(model_name, model, str(model["_target_"]).rpartition(".")[2].lower())
        own_teacher = model.pop("teacher", None) or DEFAULT_TEACHER
        train = group(composed, "train")
        require_known("train.", train, [field.name for field in fields(Recipe)])
        left_out = tuple(re.split(r"[,+\s]+", composed.weights_except)) if composed.weights_except else ()
        network = NetworkSpec(
            model_name,
            model,
            Recipe(**train),
            composed.seed,
            _weights(composed.weights),
            left_out,
            composed.normalise,
            composed.view,
        )
        earlier_run.require_as_trained(network)
        compress = group(composed, "compress")
        self._require_known_knobs(compress_name, compress)
        steps: tuple[StepSpec, ...] = ()
        for node in step_nodes(compress_name, compress):
            steps = (*steps, self._step(node, network, own_teacher, steps))
        return replace(network, steps=steps, compress=compress_name)

    def _require_known_knobs(self, name: str, compress: dict[str, Any]) -> None:
        """Refuse what was added with `+` to a list of steps: they read only the knobs that their YAML passes on."""
        listed = [str(key) for key in OmegaConf.load(options("compress", self.folders)[name])]
        if "steps" in compress:
            require_known("compress.", compress, listed)
            if "teacher" in compress and not any("teacher" in step for step in step_nodes(name, compress)):
                raise BadSetting(
                    f"compress={name}: no step learns from its teacher: write `teacher: ${{compress.teacher}}` there"
                )
        elif "teacher" in compress and "teacher" not in listed:
            raise BadSetting(f"compress={name} has no teacher: compress.teacher belongs to compress=distill")

    def _step(
        self, node: dict[str, Any], student: NetworkSpec, own_teacher: Any, before: tuple[StepSpec, ...]
    ) -> StepSpec:
        method = {name: value for name, value in node.items() if name not in ("teacher", "transfer")}
        described = node.get("teacher")
        teaches = before[0].method if before else method
        teachers = self._teachers(described, student, own_teacher, teaches) if "teacher" in node else ()
        learnt = node.get("transfer")
        transfer = transfers.transfer(learnt, self.folders, self.outputs) if learnt is not None else None
        return StepSpec(method, teachers, transfer)

    def _teachers(
        self, described: Any, student: NetworkSpec, own_teacher: Any, method: Node
    ) -> tuple[NetworkSpec, ...]:
        """Return the teachers that `compress.teacher` describes: one, or several in a list.

        `method` is how generations of equals learn from each other.
        """
        described = own_teacher if described == AUTO else described
        listed = described if isinstance(described, list) else [described]
        if not listed:
            raise BadSetting("compress.teacher=[] names no teacher: type compress.teacher=cnn_deep")
        teachers: list[NetworkSpec] = []
        for one in listed:
            if equals.are_described(one):
                teachers += equals.teachers(one, student, method)
            else:
                teachers.append(self._teacher(own_teacher if one == AUTO else one, student))
        alike = [replace(one, name="", seed_is_fixed=False) for one in teachers]  # for this seed
        twice = next((one for number, one in enumerate(teachers) if alike[number] in alike[:number]), None)
        if twice is not None:
            raise BadSetting(
                f"compress.teacher names one {twice.name} twice: type a seed for each, {{model:..,seed:1}}"
            )
        return tuple(teachers)

    def _teacher(self, described: Any, student: NetworkSpec) -> NetworkSpec:
        """Return the teacher that a model's name, `self`, or settings of its own describe."""
        if described == SELF:
            return student
        if self._is_a_folder(described):
            return earlier_run.network_in(Path.cwd() / Path(described).expanduser(), "compress.teacher")
        name = "null" if described is None else str(described)
        settings = dict(described) if isinstance(described, dict) else {"model": name}
        model, compress = settings.pop("model", None), settings.pop("compress", "baseline")
        if not isinstance(model, str) or not isinstance(compress, str):
            raise BadSetting(f"compress.teacher={described}: type compress.teacher={{model:cnn_deep,compress:prune}}")
        require_choice("compress.teacher", model, "model", self.folders, (AUTO, SELF))
        require_choice("compress.teacher compress", compress, "compress", self.folders)
        composed = compose([f"model={model}", f"compress={compress}"], self.folders)
        OmegaConf.set_struct(composed, True)
        update(composed, {f"train.{name}": value for name, value in self.teacher_train.items()})
        seed = settings.pop("seed", None)
        update(composed, {"seed": student.seed if seed is None else seed} | settings)
        teacher = self.network(composed, model, compress)
        if seed is not None:
            return replace(teacher, seed_is_fixed=True)
        if (teacher.model, teacher.weights) == (student.model, student.weights):
            # Under the same seed both would begin alike, and under the same recipe it would be `self`.
            teacher = equals.equal_of(teacher)
        return teacher

    def _is_a_folder(self, described: Any) -> bool:
        """Whether a teacher is described by the folder of a run, and not by the name of a model."""
        if not isinstance(described, str) or described in options("model", self.folders):
            return False
        return "/" in described or Path(described).is_dir()


def outputs_of(composed: DictConfig) -> Path:
    """Return the folder that everything is written to. Raises `BadSetting` for a URL that a YAML has in its place."""
    if outputs_url.is_url(composed.outputs):
        raise BadSetting(f"outputs: {composed.outputs} is no folder: a YAML says remote: {composed.outputs}")
    return Path.cwd() / Path(composed.outputs).expanduser()


def _fallback(
    name: str, composed: DictConfig, overrides: Sequence[str], folders: Sequence[Path], train_images: int | None
) -> DataSpec:
    """Return the data set that is used if another cannot be had, with as many training images as were typed."""
    require_choice("data.fallback", name, "data", folders, ("null",))
    experiments = [text for text in overrides if text.lstrip("+~").startswith("experiment")]
    other = compose([*experiments, f"data={name}"], folders)
    for setting in ("outputs", "seed"):  # which a choice may refer to
        other[setting] = composed[setting]
    node = group(other, "data")
    node.pop("fallback", None)
    return data_from(name, node | {"train_images": train_images}, outputs_of(composed))


def _weights(value: Any) -> Path | None:
    """Return the file that `weights` names; of the folder of a run, the one in it."""
    path = file_named("weights", value)
    weights = earlier_run.weights_in(path, "weights") if path and path.is_dir() else path
    if weights:
        checks.plain("weights", earlier_run.name_of_weights(weights))  # which stands in the row
    return weights
