"""The runs that several values of settings ask for, as `kdbench sweep` makes them of `A,B,C`. Imports no torch."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdbench.errors import BadSetting
from kdbench.settings.choices import EVERYTHING, GROUPS, WITH_KNOBS, chosen_by_default, knobs, options
from kdbench.settings.knobs import PART, chosen_options
from kdbench.settings.typed import Flat, flattened, folders_of


def combinations(settings: Mapping[str, Any], own: Path | str | None = None) -> list[Flat]:
    """Return the settings of every run that `settings` ask for; `own` is a folder of choices of the user's own.

    A list makes a run for each of its values. Where the setting's own value is a list (model.widths) a list is one
    value, and a list of lists is several. What of `EVERYTHING` is not narrowed is all of it.
    """
    folders = folders_of(own)
    flat = {**EVERYTHING, **flattened(settings)}
    chosen = {group: _choices(group, flat[group], folders) for group in GROUPS if group in flat}
    values = {name: chosen[name] if name in chosen else _values(name, flat[name], chosen, folders) for name in flat}
    for name, found in values.items():
        if not found:
            raise BadSetting(f"{name}=[] asks for no run: give at least one value, or leave it out")
    return [dict(zip(values, one, strict=True)) for one in itertools.product(*values.values())]


def _choices(group: str, value: Any, folders: Sequence[Path]) -> list[Any]:
    """Return the choices that a list names, or a text as it is typed: one, `A,B` or `glob(*)`."""
    if not isinstance(value, str):
        return value if isinstance(value, list) else [value]
    known = list(options(group, folders))
    return [one for part in PART.findall(value) for one in chosen_options(group, {group: part}, known) or [part]]


def _values(name: str, value: Any, chosen: Mapping[str, Sequence[Any]], folders: Sequence[Path]) -> list[Any]:
    """Return the values of a setting that is no choice."""
    if not isinstance(value, list):
        return [value]
    one = _takes_list(name, chosen, folders) and not any(isinstance(item, list) for item in value)
    return [value] if one else value


def _takes_list(name: str, chosen: Mapping[str, Sequence[Any]], folders: Sequence[Path]) -> bool:
    """Whether a setting is a list in the YAML of one of the choices made."""
    group, _, knob = name.partition(".")
    if group not in WITH_KNOBS:
        return False
    known = options(group, folders)
    names = chosen.get(group, [chosen_by_default()[group]])
    return any(isinstance(knobs(known[one]).get(knob), list) for one in names if one in known)
