"""Whose code may be run: kdbench's own, and that of packages which the user names. Imports no torch.

A YAML file from elsewhere is data until then: what it names as `_target_` would otherwise be imported and called.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from kdbench.errors import BadSetting

VARIABLE = "KDBENCH_TRUST"  # packages trusted in every command, with commas between them
# The parts of kdbench that hold what YAML may name; its other functions write files and the like.
OWN = ("kdbench.models.", "kdbench.compress.", "kdbench.data.")

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


def granted(overrides: Sequence[str]) -> bool:
    """Whether `trust` was typed, and does not come from a file."""
    return any(text.lstrip("+").partition("=")[0] == "trust" for text in overrides)


def from_arguments(arguments: Iterable[str]) -> list[str]:
    """Return the packages that a command line trusts, before Hydra has read it."""
    given = [text.partition("=")[2] for text in arguments if text.lstrip("+").startswith("trust=")]
    return [name.strip(" '\"") for text in given for name in text.strip("[]").split(",") if name.strip()]
