"""The parts of what Hydra composed: read, and refused where they are not what they should be. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf

from kdbench.errors import BadSetting, nearest
from kdbench.settings import schema
from kdbench.settings.choices import options
from kdbench.settings.network import DataSpec

OF_A_TEACHER = ("model", "compress", "seed", "weights", "weights_except", "normalise", "view", "train")


def group(composed: DictConfig, group: str) -> dict[str, Any]:
    """Return the choice made in a group, such as `model`. Raises `BadSetting` if it has no Python behind it."""
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


def step_nodes(name: str, node: dict[str, Any]) -> list[dict[str, Any]]:
    """Read both shapes of a compression: one `_target_`, or a list of `steps` under shared knobs."""
    steps = node.get("steps") if "steps" in node else [node]
    if not isinstance(steps, list) or not all(isinstance(step, dict) and "_target_" in step for step in steps):
        raise BadSetting(f"compress={name}: its YAML needs a _target_, or a list of steps that each have one")
    return steps


def update(composed: DictConfig, settings: Mapping[str, Any]) -> None:
    """Set what a teacher's or a transfer set's own description says: `train.epochs`, or `train: {epochs: ...}`."""
    for name, value in settings.items():
        if isinstance(value, dict) and name in ("model", "compress", "train", "data"):
            update(composed, {f"{name}.{inner}": item for inner, item in value.items()})
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


def require_known(prefix: str, given: Iterable[Any], names: Sequence[str]) -> None:
    """Refuse keys that were added with `+` and that nothing would read."""
    for key in given:
        if key not in names:
            raise BadSetting(f"{prefix}{key} is not a setting: {nearest(str(key), names)}")


def require_choice(setting: str, name: str, group: str, folders: Sequence[Path], special: Sequence[str] = ()) -> None:
    """Raise `BadSetting` unless `name`, given by a `setting`, is a choice in `group`, or hinted at beside those."""
    known = options(group, folders)
    if name not in known:
        raise BadSetting(f"{setting}={name} is unknown: {nearest(name, [*special, *known])}")


def called(choice: str, node: dict[str, Any], default: str | None = None) -> str:
    """Return what rows call a choice: what its YAML says under `called`, which may be null for `default`, if it does.

    So one YAML can stand for many networks, or many folders of images.
    """
    if "called" not in node:
        return choice
    called = node.pop("called")
    called = Path(str(called or default or choice)).name.removesuffix(".onnx")
    return re.sub(r"[^\w.-]+", "_", called).lstrip("_.-") or choice


def file_named(setting: str, value: Any) -> Path | None:
    """Return the path that a setting names, from where the command was typed. Raises `BadSetting` for no path."""
    if value is not None and not isinstance(value, str | Path):
        raise BadSetting(f"{setting}={value} is not a path")
    return None if value is None else Path.cwd() / Path(value).expanduser()


def not_null(node: dict[str, Any]) -> dict[str, Any]:
    """Return those settings that have a value."""
    return {name: value for name, value in node.items() if value is not None}


def data_from(name: str, node: dict[str, Any], outputs: Path) -> DataSpec:
    """Return the data set that a choice of the group `data` describes."""
    root = node.pop("root", None)
    name = called(name, node, Path(str(root)).name if root else name)
    cache = node.pop("cache", None) or outputs / "data"
    images = node.pop("train_images", None)
    schema.check("data.train_images", images)
    folder = Path.cwd() / Path(cache).expanduser()
    return DataSpec(name, node, file_named("data.root", root), folder, train_images=images)
