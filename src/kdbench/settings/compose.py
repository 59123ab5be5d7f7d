"""From what Hydra composed to a `Config` with every choice resolved. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import hydra
from omegaconf import MISSING, DictConfig, OmegaConf

from kdbench.errors import BadSetting, nearest
from kdbench.settings import given
from kdbench.settings.choices import options
from kdbench.settings.config import Config
from kdbench.settings.network import DataSpec, NetworkSpec, Recipe, StepSpec, knobs_in_words
from kdbench.settings.schema import Schema

DEFAULT_TEACHER = "resnet_deep"  # of a model whose YAML names none
AUTO, SELF = "auto", "self"
OF_A_TEACHER = ("model", "compress", "seed", "weights", "weights_except", "normalise", "train")


def resolve(
    composed: DictConfig, names: Mapping[str, str], overrides: Sequence[str], folders: Sequence[Path]
) -> Config:
    """Return the run's configuration.

    `names` are the choices made in each group, `overrides` what was typed, `folders` where choices are looked
    for. Raises `BadSetting` for anything out of range.
    """
    _known("", composed, [field.name for field in fields(Schema)])
    outputs = outputs_of(composed)
    data = _group(composed, "data")
    fallback = data.pop("fallback", None)
    composer = Composer(folders, outputs, _given(_group(composed, "teacher_train")))
    return Config(
        data=_data(names["data"], data, outputs),
        fallback=_fallback(str(fallback), overrides, folders, outputs) if fallback else None,
        network=composer.network(composed, names["model"], names["compress"]),
        settings=knobs_in_words(_group(composed, "compress")),
        device=composed.device,
        precision=composed.precision,
        threads=composed.threads,
        seeds_together=composed.seeds_together,
        checkpoint_seconds=composed.checkpoint_seconds,
        again=composed.again,
        retrain=composed.retrain,
        outputs=outputs,
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
        model = _group(composed, "model")
        model_name = _called(model_name, model, str(model["_target_"]).rpartition(".")[2].lower())
        own_teacher = model.pop("teacher", None) or DEFAULT_TEACHER
        train = _group(composed, "train")
        _known("train.", train, [field.name for field in fields(Recipe)])
        left_out = tuple(re.split(r"[,+\s]+", composed.weights_except)) if composed.weights_except else ()
        network = NetworkSpec(
            model_name,
            model,
            Recipe(**train),
            composed.seed,
            _weights(composed.weights),
            left_out,
            composed.normalise,
        )
        compress = _group(composed, "compress")
        self._require_known_knobs(compress_name, compress)
        steps = tuple(self._step(node, network, own_teacher) for node in _step_nodes(compress_name, compress))
        return replace(network, steps=steps, compress=compress_name)

    def _require_known_knobs(self, name: str, compress: dict[str, Any]) -> None:
        """Refuse what was added with `+` to a list of steps: they read only the knobs that their YAML passes on."""
        listed = [str(key) for key in OmegaConf.load(options("compress", self.folders)[name])]
        if "steps" in compress:
            _known("compress.", compress, listed)
            if "teacher" in compress and not any("teacher" in step for step in _step_nodes(name, compress)):
                raise BadSetting(
                    f"compress={name}: no step learns from its teacher: write `teacher: ${{compress.teacher}}` there"
                )
        elif "teacher" in compress and "teacher" not in listed:
            raise BadSetting(f"compress={name} has no teacher: compress.teacher belongs to compress=distill")

    def _step(self, node: dict[str, Any], student: NetworkSpec, own_teacher: Any) -> StepSpec:
        method = {name: value for name, value in node.items() if name not in ("teacher", "transfer")}
        teachers = self._teachers(node["teacher"], student, own_teacher) if "teacher" in node else ()
        transfer = node.get("transfer")
        return StepSpec(method, teachers, self._transfer(transfer) if transfer is not None else None)

    def _teachers(self, described: Any, student: NetworkSpec, own_teacher: Any) -> tuple[NetworkSpec, ...]:
        """Return the teachers that `compress.teacher` describes: one, or several in a list."""
        described = own_teacher if described == AUTO else described
        listed = described if isinstance(described, list) else [described]
        if not listed:
            raise BadSetting("compress.teacher=[] names no teacher: type compress.teacher=cnn_deep")
        return tuple(self._teacher(own_teacher if one == AUTO else one, student) for one in listed)

    def _teacher(self, described: Any, student: NetworkSpec) -> NetworkSpec:
        """Return the teacher that a model's name, `self`, or settings of its own describe."""
        if described == SELF:
            return student
        if self._is_a_folder(described):
            return given.network_in(Path.cwd() / Path(described).expanduser(), "compress.teacher")
        settings = dict(described) if isinstance(described, dict) else {"model": str(_null(described))}
        model, compress = settings.pop("model", None), settings.pop("compress", "baseline")
        if not isinstance(model, str) or not isinstance(compress, str):
            raise BadSetting(f"compress.teacher={described}: type compress.teacher={{model:cnn_deep,compress:prune}}")
        _require("compress.teacher", model, "model", self.folders, (AUTO, SELF))
        _require("compress.teacher compress", compress, "compress", self.folders)
        composed = hydra.compose("config", [f"model={model}", f"compress={compress}"])
        OmegaConf.set_struct(composed, True)
        _update(composed, {f"train.{name}": value for name, value in self.teacher_train.items()})
        seed = settings.pop("seed", None)
        _update(composed, {"seed": student.seed if seed is None else seed} | settings)
        teacher = self.network(composed, model, compress)
        if seed is not None:
            return replace(teacher, seed_is_fixed=True)
        if replace(teacher, name=student.name, compress=student.compress) == student:
            # An equal of the student with the same seed would be the student's own baseline, which is `self`.
            teacher = teacher.with_seed(student.seed + 1)
        return teacher

    def _is_a_folder(self, described: Any) -> bool:
        """Whether a teacher is described by the folder of a run, and not by the name of a model."""
        if not isinstance(described, str) or described in options("model", self.folders):
            return False
        return "/" in described or Path(described).is_dir()

    def _transfer(self, described: Any) -> DataSpec:
        """Return the data set that a name, or settings of its own, describe."""
        settings = dict(described) if isinstance(described, dict) else {"data": str(described)}
        name = str(settings.pop("data", None))
        _require("compress.transfer", name, "data", self.folders)
        composed = hydra.compose("config", [f"data={name}"])
        OmegaConf.set_struct(composed, True)
        _update(composed, {f"data.{knob}": value for knob, value in settings.items()})
        node = _group(composed, "data")
        node.pop("fallback", None)
        if "cache" not in settings:
            del node["cache"]  # that of this run's outputs
        return _data(name, node, self.outputs)


def outputs_of(composed: DictConfig) -> Path:
    """Return the folder that everything is written to."""
    return Path.cwd() / Path(composed.outputs).expanduser()


def _group(composed: DictConfig, group: str) -> dict[str, Any]:
    node = OmegaConf.to_container(composed[group], resolve=True)
    if not isinstance(node, dict):
        raise BadSetting(f"{group}={node} is not a choice: see kdbench ls")
    if node.get("_target_") == MISSING:
        raise BadSetting(
            f"{group}: it needs the class or function that makes it: type {group}._target_=my_file.Mine, and "
            "--config-dir DIR, the folder of my_file.py"
        )
    if group in ("model", "data") and "_target_" not in node:
        raise BadSetting(f"{group}: its YAML needs a _target_, the Python function or class that makes it")
    return {str(key): value for key, value in node.items()}


def _step_nodes(name: str, node: dict[str, Any]) -> list[dict[str, Any]]:
    """Read both shapes of a compression: one `_target_`, or a list of `steps` under shared knobs."""
    steps = node.get("steps") if "steps" in node else [node]
    if not isinstance(steps, list) or not all(isinstance(step, dict) and "_target_" in step for step in steps):
        raise BadSetting(f"compress={name}: its YAML needs a _target_, or a list of steps that each have one")
    return steps


def _update(composed: DictConfig, settings: Mapping[str, Any]) -> None:
    """Set what a teacher's or a transfer set's own description says: `train.epochs`, or `train: {epochs: ...}`."""
    for name, value in settings.items():
        if isinstance(value, dict) and name in ("model", "compress", "train", "data"):
            _update(composed, {f"{name}.{inner}": item for inner, item in value.items()})
            continue
        group, _, knob = str(name).partition(".")
        known = composed.get(group) if knob else composed
        keys = [str(key) for key in known] if isinstance(known, DictConfig) else []
        takes_more = group == "model" and "called" in keys  # one YAML for many, which names no arguments of each
        if group not in (*OF_A_TEACHER, "data") or not ((knob or group) in keys or takes_more):
            inside = [f"{group}.{key}" for key in keys] if knob and keys else OF_A_TEACHER
            raise BadSetting(f"{name} is not a setting of a teacher: {nearest(str(name), inside)}")
        try:
            OmegaConf.update(composed, str(name), value, force_add=takes_more)
        except Exception as error:  # omegaconf's words for a wrong type are those of a run's own settings
            raise BadSetting(f"compress.teacher: {name}={value} has the wrong type") from error


def _known(prefix: str, given: Iterable[Any], names: Sequence[str]) -> None:
    """Refuse keys that were added with `+` and that nothing would read."""
    for key in given:
        if key not in names:
            raise BadSetting(f"{prefix}{key} is not a setting: {nearest(str(key), names)}")


def _given(node: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in node.items() if value is not None}


def _fallback(name: str, overrides: Sequence[str], folders: Sequence[Path], outputs: Path) -> DataSpec:
    _require("data.fallback", name, "data", folders, ("null",))
    other_groups = ("data", "model", "compress")
    kept = [text for text in overrides if text.lstrip("+~").split("=")[0].split(".")[0] not in other_groups]
    node = _group(hydra.compose("config", [*kept, f"data={name}"]), "data")
    node.pop("fallback", None)
    return _data(name, node, outputs)


def _require(setting: str, name: str, group: str, folders: Sequence[Path], special: Sequence[str] = ()) -> None:
    known = options(group, folders)
    if name not in known:
        raise BadSetting(f"{setting}={name} is unknown: {nearest(name, [*special, *known])}")


def _data(name: str, node: dict[str, Any], outputs: Path) -> DataSpec:
    root = node.pop("root", None)
    name = _called(name, node, Path(str(root)).name if root else name)
    cache = node.pop("cache", None) or outputs / "data"
    return DataSpec(name, node, _file("data.root", root), Path.cwd() / Path(cache).expanduser())


def _called(choice: str, node: dict[str, Any], default: str | None = None) -> str:
    """Return what rows call a choice: what its YAML says under `called`, which may be null for `default`, if it does.

    So one YAML can stand for many networks, or many folders of images.
    """
    if "called" not in node:
        return choice
    called = node.pop("called")
    called = Path(str(called or default or choice)).name.removesuffix(".onnx")
    return re.sub(r"[^\w.-]+", "_", called).lstrip("_.-") or choice


def _file(setting: str, value: Any) -> Path | None:
    if value is not None and not isinstance(value, str | Path):
        raise BadSetting(f"{setting}={value} is not a path")
    return None if value is None else Path.cwd() / Path(value).expanduser()


def _weights(value: Any) -> Path | None:
    """Return the file that `weights` names; of the folder of a run, the one in it."""
    path = _file("weights", value)
    return given.weights_in(path, "weights") if path and path.is_dir() else path


def _null(value: Any) -> Any:
    return "null" if value is None else value
