"""YAML files from elsewhere: what may stand in them, before Hydra or OmegaConf read them. Imports no torch."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from kdbench.errors import BadSetting, DamagedFile
from kdbench.settings import trust
from kdbench.settings.choices import GROUPS
from kdbench.storage import durable

LARGEST = 100_000  # nodes of a YAML file, aliases written out; a few lines can stand for billions


def require_folder(given: Path) -> None:
    """Raise `BadSetting` if there is no folder `given`."""
    if not given.is_dir():
        raise BadSetting(f"--config-dir {given}: there is no such folder")


def yaml_files(folder: Path) -> Iterator[Path]:
    """Yield every YAML file that Hydra could find under `folder`, through links too."""
    seen = set()
    for place, inner, names in os.walk(folder, followlinks=True):
        inner[:] = sorted(name for name in inner if os.path.realpath(os.path.join(place, name)) not in seen)  # noqa: PTH118
        seen.update(os.path.realpath(os.path.join(place, name)) for name in inner)  # noqa: PTH118
        yield from (Path(place) / name for name in sorted(names) if name.endswith((".yaml", ".yml")))


def require_plain_choices(folder: Path) -> None:
    """Raise `BadSetting` if the YAML files under `folder` do more than add choices.

    Hydra itself calls whatever its own configuration names, such as callbacks, long before kdbench is asked.
    """
    require_folder(folder)
    if "hydra" in trust.packages():
        return
    for path in yaml_files(folder):
        try:
            text = durable.read(path).decode(errors="replace")
        except DamagedFile as error:
            raise BadSetting(f"{path} is not plain YAML ({error})") from error
        if meddles(path.relative_to(folder).parts[0], text):
            raise BadSetting(
                f"{path} is not plain YAML for one of {', '.join(GROUPS)}, or configures Hydra, which could run any "
                "code: type trust=[hydra] if it may"
            )


def meddles(group: str, text: str) -> bool:
    """Whether a YAML file, in the folder of `group`, reaches into the configuration of Hydra."""
    if group not in GROUPS:
        return True
    if any("hydra" in package for package in re.findall(r"@package\s+(\S+)", text)):
        return True
    try:
        if inflated(text):
            return True
        node: Any = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError):
        return True  # Hydra's loader reads more than this one
    if not isinstance(node, dict):
        return node is not None
    return "hydra" in str(node.get("defaults", "")) or any(str(key).startswith("hydra") for key in node)


def inflated(text: str) -> bool:
    """Whether aliases in a YAML text stand for more than `LARGEST` nodes, or for what they are part of."""
    sizes: dict[int, float] = {}

    def size(node: yaml.Node) -> float:
        if id(node) not in sizes:
            sizes[id(node)] = math.inf  # until it is known: a node within itself has no end
            inner = node.value if isinstance(node, yaml.SequenceNode | yaml.MappingNode) else []
            parts = [part for item in inner for part in (item if isinstance(item, tuple) else (item,))]
            sizes[id(node)] = 1 + sum(map(size, parts))
        return sizes[id(node)]

    root = yaml.compose(text, Loader=yaml.SafeLoader)
    return root is not None and size(root) > LARGEST
