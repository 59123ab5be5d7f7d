"""Whose code may be run: kdbench's own, and that of packages which the user names. Imports no torch.

A YAML file from elsewhere is data until then: what it names as `_target_` would otherwise be imported and called.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from kdbench import durable
from kdbench.choices import GROUPS
from kdbench.errors import BadSetting, DamagedFile

VARIABLE = "KDBENCH_TRUST"  # packages trusted in every command, with commas between them
# The parts of kdbench that hold what YAML may name; its other functions write files and the like.
OWN = ("kdbench.models.", "kdbench.compress.", "kdbench.data.")

LARGEST = 100_000  # nodes of a YAML file, aliases written out; a few lines can stand for billions

_typed: set[str] = set()


def grant(packages: object) -> None:
    """Trust `packages`, one name or several, in this process. Raises `BadSetting` for anything else."""
    given = [packages] if isinstance(packages, str) else packages or []
    if not isinstance(given, list | tuple) or not all(isinstance(name, str) for name in given):
        given = [""]
    names = [name.strip() for some in given for name in some.split(",")]
    if not all(name.isidentifier() for name in names):
        raise BadSetting(f"trust={packages} is not a list of Python packages, such as trust=[my_methods]")
    _typed.clear()
    _typed.update(names)


def packages() -> set[str]:
    """Return the packages that are trusted besides kdbench."""
    return _typed | {name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()}


def require(path: str) -> None:
    """Raise `BadSetting` if the dotted `path` of a `_target_` names code that nobody said to trust."""
    package = path.partition(".")[0]
    if not package.isidentifier():
        raise BadSetting(f"_target_: '{path}' is not the name of a class or function, such as my_methods.Mine")
    if path.startswith(OWN) or package in packages():
        return
    if package == "kdbench":
        raise BadSetting(f"_target_: {path} is not a model, a compression step or a data set of kdbench")
    raise BadSetting(
        f"_target_: {path} is not part of kdbench: if its code may be run, type trust=[{package}], "
        f"of verify and ls --trust {package}"
    )


def require_own(path: str, found: object) -> None:
    """Raise `BadSetting` if what `path` led to is not defined where it says, such as an import of kdbench's."""
    module = getattr(found, "__module__", None) or ""
    if path.startswith(OWN) and not module.startswith(OWN):
        raise BadSetting(f"_target_: {path} is not a model, a compression step or a data set of kdbench")


class Finder(MetaPathFinder):
    """Finds trusted packages, and nothing else, in folders of the user's own.

    On `sys.path`, such a folder would also serve a `torch.py` that nobody asked for.
    """

    def __init__(self) -> None:
        self.folders: list[str] = []

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where `fullname` lies, if it is a trusted package."""
        return PathFinder.find_spec(fullname, self.folders) if path is None and fullname in packages() else None


_finder = Finder()


def serve(folder: str) -> None:
    """Let trusted packages be imported from `folder`."""
    if _finder not in sys.meta_path:
        sys.meta_path.append(_finder)
    if folder in _finder.folders:
        _finder.folders.remove(folder)
    _finder.folders.insert(0, folder)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Let a command that Hydra does not handle name a folder of the user's own, and packages to trust."""
    parser.add_argument("-cd", "--config-dir", type=Path, metavar="DIR", help="also look for choices and code in DIR")
    parser.add_argument("--trust", action="append", default=[], metavar="PACKAGE", help="whose code may be run")


def heed(options: argparse.Namespace) -> list[Path]:
    """Do as those arguments say, and return the folder, if one was given. Raises `BadSetting`."""
    grant(options.trust)
    if options.config_dir is None:
        return []
    require_plain_choices(options.config_dir)
    serve(str(options.config_dir.absolute()))
    return [options.config_dir]


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
    if "hydra" in packages():
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


def granted(overrides: Sequence[str]) -> bool:
    """Whether `trust` was typed, and does not come from a file."""
    return any(text.lstrip("+").partition("=")[0] == "trust" for text in overrides)


def from_arguments(arguments: Iterable[str]) -> list[str]:
    """Return the packages that a command line trusts, before Hydra has read it."""
    given = [text.partition("=")[2] for text in arguments if text.lstrip("+").startswith("trust=")]
    return [name.strip(" '\"") for text in given for name in text.strip("[]").split(",") if name.strip()]
