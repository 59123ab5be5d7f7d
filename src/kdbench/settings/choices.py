"""What can be chosen: the YAML files of each group. Imports neither torch nor Hydra."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdbench.errors import BadSetting

GROUPS = ("model", "compress", "data", "train", "experiment")
# What a sweep is over, where it is not narrowed. Not every model: some YAMLs stand for networks of one's own.
EVERYTHING = {"model": "glob([cnn_*,mlp_*,resnet_*])", "compress": "baseline,quantize,prune,distill"}
SWEEPS = "sweeps"  # the key of an experiment's YAML that lists several multiruns
WITH_KNOBS = ("model", "compress", "data")  # whose settings are what their YAML files hold


def config_dir() -> Path:
    """Return the folder of the YAML files: inside the package when installed, else at the top of the repository."""
    packaged = Path(__file__).parents[1] / "conf"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "conf"


def options(group: str, folders: Sequence[Path]) -> dict[str, Path]:
    """Return the choices of `group` by name, sorted; an earlier folder hides the same name in a later one."""
    found = {path.stem: path for folder in reversed(folders) for path in (folder / group).glob("*.yaml")}
    return dict(sorted(found.items()))


@functools.cache
def chosen_by_default() -> dict[str, str]:
    """Return what is chosen in each group where nothing is typed; of `train`, the model has its own choice."""
    chosen: dict[str, str] = {}
    for entry in read(config_dir() / "config.yaml")["defaults"]:
        if isinstance(entry, dict):
            chosen |= {group: name for group, name in entry.items() if group in GROUPS}
    return chosen


def read(path: Path) -> dict[str, Any]:
    """Return what a YAML file holds, as it stands there. Raises `BadSetting` if that is no mapping."""
    import yaml

    try:
        if not path.is_file():  # a pipe would be waited for
            raise ValueError("not a file")
        return copy.deepcopy(parsed(path.read_bytes()))
    except (yaml.YAMLError, ValueError, RecursionError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise BadSetting(f"{path} is not the YAML file of a choice ({reason})") from error


@functools.cache  # a command asks all files for each name that was typed
def parsed(content: bytes) -> dict[str, Any]:
    """Return the mapping that a YAML text is. Raises `ValueError` if it is none, and what PyYAML raises."""
    import yaml

    node = yaml.safe_load(content)
    if not isinstance(node, dict):
        raise ValueError("no settings with names")
    return {str(key): value for key, value in node.items()}


def knobs(path: Path) -> dict[str, Any]:
    """Return the settings that a choice has by its YAML file, such as `sparsity` of compress/prune.yaml."""
    found = {name: value for name, value in read(path).items() if name not in ("_target_", "defaults", "steps")}
    return {name: created(value) if is_created(value) else value for name, value in found.items()}


def is_created(value: Any) -> bool:
    """Whether a value is written as `${oc.create:...}`.

    Choices have lists and settings so where others may be typed in their place, with which Hydra would merge them.
    """
    return isinstance(value, str) and value.startswith("${oc.create:")


def created(text: str) -> Any:
    """Return what `${oc.create:...}` stands for."""
    from omegaconf import OmegaConf

    return OmegaConf.to_container(OmegaConf.create({"value": text}), resolve=True)["value"]


def about(path: Path) -> str:
    """Return the one line a YAML file says of itself: its first comment."""
    first = path.read_text().partition("\n")[0]
    return first.lstrip("# ").strip() if first.startswith("#") else ""
