"""What can be chosen: the YAML files of each group. Imports neither torch nor Hydra."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

GROUPS = ("model", "compress", "data", "train", "experiment")


def config_dir() -> Path:
    """Return the folder of the YAML files: inside the package when installed, else at the top of the repository."""
    packaged = Path(__file__).parents[1] / "conf"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "conf"


def options(group: str, folders: Sequence[Path]) -> dict[str, Path]:
    """Return the choices of `group` by name, sorted; an earlier folder hides the same name in a later one."""
    found = {path.stem: path for folder in reversed(folders) for path in (folder / group).glob("*.yaml")}
    return dict(sorted(found.items()))


@functools.cache
def defaults() -> frozenset[str]:
    """Return the settings that hold where nothing is typed, as one would type them; a model chooses its `train`."""
    import yaml

    node = yaml.safe_load((config_dir() / "config.yaml").read_text())
    chosen = [pair for entry in node.pop("defaults") if isinstance(entry, dict) for pair in entry.items()]
    chosen += [(name, value) for name, value in node.items() if not isinstance(value, dict)]
    return frozenset(f"{name}={said(value)}" for name, value in chosen if name != "train" and " " not in name)


def said(value: object) -> str:
    """Return `value` as YAML has it."""
    return {"None": "null", "True": "true", "False": "false"}.get(str(value), str(value))


def about(path: Path) -> str:
    """Return the one line a YAML file says of itself: its first comment."""
    first = path.read_text().partition("\n")[0]
    return first.lstrip("# ").strip() if first.startswith("#") else ""


def settings(folders: Sequence[Path]) -> dict[str, list[str]]:
    """Return every setting that can be typed, such as `compress.sparsity`, and the choices that have it."""
    from omegaconf import DictConfig, OmegaConf

    known: dict[str, list[str]] = {group: [] for group in GROUPS}
    for key in OmegaConf.load(config_dir() / "config.yaml"):
        if key not in ("defaults", "hydra"):
            known[str(key)] = []
    for group in GROUPS:
        for name, path in options(group, folders).items():
            node: Any = OmegaConf.load(path)
            if group == "experiment" or not isinstance(node, DictConfig):
                continue
            for key in node:
                if key not in ("_target_", "defaults", "steps"):
                    known.setdefault(f"{group}.{key}", []).append(name)
    return known
