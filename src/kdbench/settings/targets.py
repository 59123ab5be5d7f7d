"""From the `_target_` of a YAML file to a Python object."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

from kdbench.errors import BadSetting, KdbenchError, nearest
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


def target_of(node: dict[str, Any], setting: str) -> Callable[..., Any]:
    """Return what `node` names as its `_target_`. Raises `BadSetting`, with `setting`, if that is nothing."""
    if "_target_" not in node:
        raise BadSetting(f"{setting}: its YAML needs a _target_")
    if not isinstance(node["_target_"], str):
        raise BadSetting(f"{setting}: _target_={node['_target_']} is not the name of a class or function")
    return locate(node["_target_"])


def instantiate(node: dict[str, Any], setting: str) -> Any:
    """Call the target of `node` with the rest of `node`; `setting` is the name to use in messages."""
    target = target_of(node, setting)
    knobs = {name: value for name, value in node.items() if name != "_target_"}
    signature = inspect.signature(target)
    takes_any = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in signature.parameters.values())
    unknown = [] if takes_any else [name for name in knobs if name not in signature.parameters]
    if unknown:
        there = nearest(unknown[0], [name for name in signature.parameters if name not in knobs])
        raise BadSetting(f"{setting}: {node['_target_']} takes no {unknown[0]}: {there}")
    try:
        signature.bind(**knobs)
    except TypeError as error:
        raise BadSetting(f"{setting}: {node['_target_']} says: {error}") from error
    try:
        return target(**knobs)
    except KdbenchError:
        raise
    except ValueError as error:
        # How a method written by others refuses a knob: its own words, as one line.
        raise BadSetting(f"{setting}: {' '.join(str(error).split())}") from error
