"""From the `_target_` of a YAML file to a Python object, and to what identifies it."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kdbench.errors import BadSetting, KdbenchError
from kdbench.settings import own_folder


def locate(path: str) -> Callable[..., Any]:
    """Return the class or function that `package.module.name` names.

    Raises `BadSetting` if there is none, and, before anything is imported, if its code may not be run.
    """
    own_folder.require_allowed(path)
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadSetting(
            f"_target_: {path} cannot be imported ({error}); a file of your own belongs beside its "
            "configuration, in the folder given as --config-dir"
        ) from error
    own_folder.require_own(path, found)
    return found


def instantiate(node: dict[str, Any], setting: str) -> Any:
    """Call the target of `node` with the rest of `node`; `setting` is the name to use in messages."""
    if "_target_" not in node:
        raise BadSetting(f"{setting}: its YAML needs a _target_")
    if not isinstance(node["_target_"], str):
        raise BadSetting(f"{setting}: _target_={node['_target_']} is not the name of a class or function")
    target = locate(node["_target_"])
    knobs = {name: value for name, value in node.items() if name != "_target_"}
    try:
        inspect.signature(target).bind(**knobs)
    except TypeError as error:
        raise BadSetting(f"{setting}: {node['_target_']} says: {error}") from error
    try:
        return target(**knobs)
    except KdbenchError:
        raise
    except ValueError as error:
        # How a method written by others refuses a knob: its own words, as one line.
        raise BadSetting(f"{setting}: {error}") from error


def identity(node: dict[str, Any]) -> dict[str, Any]:
    """Return everything that decides what `node` makes: its knobs, unnamed defaults included, and its code.

    The code is the syntax tree of the target's own file, so that comments, docstrings and layout may change
    while an edited model or method is never served the weights of the old one. What that file imports is not
    part of it: for kdbench's own training code that is `training.store.FORMAT`.
    """
    target = locate(node["_target_"])
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(target).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    return {**defaults, **node, "_code_": _code(inspect.getsourcefile(target) or "")}


@functools.cache
def _code(file: str) -> str:
    if not file:
        return ""
    tree = ast.parse(Path(file).read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]
