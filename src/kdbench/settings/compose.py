"""From what Hydra composed to a `Config` with every choice resolved. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from kdbench.errors import BadSetting, nearest
from kdbench.settings.choices import options
from kdbench.settings.config import CompressConfig, Config, DataConfig, NetworkConfig, Schema, TrainConfig

DEFAULT_TEACHER = "resnet_deep"  # of a model whose YAML names none


def resolve(composed: DictConfig, names: dict[str, str], overrides: Sequence[str], folders: Sequence[Path]) -> Config:
    """Return the run's configuration.

    `names` are the choices made in each group, `overrides` what was typed, `folders` where choices are looked
    for. The teacher is the baseline of its name under the same overrides, except those of the student's
    model and of the compression. Raises `BadSetting` for anything out of range.
    """
    _known("", composed, [field.name for field in fields(Schema)])
    data = _plain(composed, "data")
    compress = _plain(composed, "compress")
    yaml = [str(key) for key in OmegaConf.load(options("compress", folders)[names["compress"]])]
    if "steps" in compress:
        # Steps read the knobs that their YAML passes on; one that was added would reach none of them.
        _known("compress.", compress, yaml)
    elif "teacher" in compress and "teacher" not in yaml:
        raise BadSetting(f"compress={names['compress']} has no teacher: compress.teacher belongs to compress=distill")
    network = _network(composed, names["model"])
    teacher = None
    if "teacher" in compress:
        _require_free_model(names.get("experiment"), folders)
        name = compress.pop("teacher")
        if name == "auto":
            name = composed.model.get("teacher") or DEFAULT_TEACHER
        teacher = _teacher("null" if name is None else str(name), network, overrides, folders)
    outputs = outputs_of(composed)
    fallback = data.pop("fallback", None)
    return Config(
        data=_data(names["data"], data, outputs),
        fallback=_fallback(str(fallback), overrides, folders, outputs) if fallback else None,
        network=network,
        compress=_compress(names["compress"], compress),
        teacher=teacher,
        device=composed.device,
        precision=composed.precision,
        threads=composed.threads,
        seeds_together=composed.seeds_together,
        checkpoint_seconds=composed.checkpoint_seconds,
        again=composed.again,
        outputs=outputs,
    )


def outputs_of(composed: DictConfig) -> Path:
    """Return the folder that everything is written to."""
    return Path.cwd() / Path(composed.outputs).expanduser()


def _plain(composed: DictConfig, group: str) -> dict[str, Any]:
    node = OmegaConf.to_container(composed[group], resolve=True)
    if not isinstance(node, dict):
        raise BadSetting(f"{group}={node} is not a choice: see kdbench ls")
    if group in ("model", "data") and "_target_" not in node:
        raise BadSetting(f"{group}: its YAML needs a _target_, the Python function or class that makes it")
    return {str(key): value for key, value in node.items()}


def _network(composed: DictConfig, name: str) -> NetworkConfig:
    model = _plain(composed, "model")
    model.pop("teacher", None)
    train = _plain(composed, "train")
    _known("train.", train, [field.name for field in fields(TrainConfig)])
    return NetworkConfig(name, model, TrainConfig(**train), composed.seed)


def _known(prefix: str, given: Iterable[Any], names: Sequence[str]) -> None:
    """Refuse keys that were added with `+` and that nothing would read."""
    for key in given:
        if key not in names:
            raise BadSetting(f"{prefix}{key} is not a setting: {nearest(str(key), names)}")


def _teacher(name: str, student: NetworkConfig, overrides: Sequence[str], folders: Sequence[Path]) -> NetworkConfig:
    _require("compress.teacher", name, "model", folders, "auto")
    composed = _again(["model=" + name], overrides, ("model", "compress"))
    teacher = _network(composed, name)
    if (teacher.model, teacher.train) == (student.model, student.train):
        # An equal of the student with the same seed would be the student's own baseline.
        teacher = NetworkConfig(name, teacher.model, teacher.train, student.seed + 1)
    return teacher


def _require_free_model(experiment: str | None, folders: Sequence[Path]) -> None:
    """Refuse an experiment that changes sizes of the model: composed again for the teacher, it would change those."""
    if experiment and "model" in OmegaConf.load(options("experiment", folders)[experiment]):
        raise BadSetting(
            f"experiment={experiment} sets model.*, which would hold for the teacher too: type it instead"
        )


def _fallback(name: str, overrides: Sequence[str], folders: Sequence[Path], outputs: Path) -> DataConfig:
    _require("data.fallback", name, "data", folders, "null")
    node = _plain(_again(["data=" + name], overrides, ("data", "model", "compress")), "data")
    node.pop("fallback", None)
    return _data(name, node, outputs)


def _require(setting: str, name: str, group: str, folders: Sequence[Path], special: str) -> None:
    known = options(group, folders)
    if name not in known:
        raise BadSetting(f"{setting}={name} is unknown: {nearest(name, [special, *known])}")


def _again(choices: list[str], overrides: Sequence[str], without: tuple[str, ...]) -> DictConfig:
    """Compose once more with other choices, under the same overrides but those of the groups in `without`."""
    kept = [text for text in overrides if text.lstrip("+~").split("=")[0].split(".")[0].split("@")[0] not in without]
    return hydra.compose("config", [*kept, *choices])


def _data(name: str, node: dict[str, Any], outputs: Path) -> DataConfig:
    root = node.pop("root", None)
    cache = node.pop("cache", None) or outputs / "data"
    return DataConfig(
        name=name,
        loader=node,
        root=None if root is None else Path.cwd() / Path(str(root)).expanduser(),
        cache=Path.cwd() / Path(cache).expanduser(),
    )


def _compress(name: str, node: dict[str, Any]) -> CompressConfig:
    """Read both shapes of a compression: one `_target_`, or a list of `steps` under shared knobs."""
    steps = node.get("steps") if "steps" in node else [node]
    if not isinstance(steps, list) or not all(isinstance(step, dict) and "_target_" in step for step in steps):
        raise BadSetting(f"compress={name}: its YAML needs a _target_, or a list of steps that each have one")
    knobs = {key: value for key, value in node.items() if key not in ("_target_", "steps")}
    settings = " ".join(f"{key}={value}" for key, value in knobs.items())
    return CompressConfig(name, tuple(steps), settings)
