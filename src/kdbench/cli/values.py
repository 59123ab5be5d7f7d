"""What is typed behind SETTING=, before Hydra sees it: one value or several, a name, true or false. No torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdbench.errors import BadSetting, nearest
from kdbench.settings.choices import knobs, options, read
from kdbench.settings.schema import as_yaml

PIECE = re.compile(r"""'(?:\\.|[^'])*'|"(?:\\.|[^"])*"|.""", re.DOTALL)  # a quoted text, or one character
PLAIN = re.compile(r"[\w./~-]+")  # what needs no quotes, unless it is read as something else: 1.10
STEPS = "; one after the other is a YAML with steps, as conf/compress/distill_quantize.yaml"
OF_AN_ENSEMBLE = "kdbench.compress.distill.soft_targets.Distill"  # the method that learns from several teachers


def split(value: str) -> list[str]:
    """Return the values that commas separate, those inside brackets, braces, parentheses and quotes aside."""
    parts, depth = [""], 0
    for piece in PIECE.findall(value):
        depth += (piece in "([{") - (piece in ")]}")
        if piece == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += piece
    return parts


def check_one(name: str, value: str, several: bool, what_else: str = "") -> None:
    """Refuse several values outside a multirun; `what_else` can be typed instead."""
    if len(split(value)) > 1 and not several:
        raise BadSetting(f"{name}={value} is several values: -m makes a run for each{what_else}")


def check_bool(name: str, value: str) -> None:
    """Refuse what YAML or Python would take for true or false, such as 2."""
    if not all(part.lower() in ("true", "false") for part in split(value)):
        raise BadSetting(f"{name}={value} is not true or false")


def check_choice(group: str, value: str, folders: Sequence[Path], several: bool) -> None:
    """Refuse what is no name of a choice, such as a list of names."""
    after = STEPS if group == "compress" else ""
    if not value:
        raise BadSetting(f"{group}= names no choice: see kdbench ls")
    for part in split(value):
        names = re.fullmatch(r"\[([\w.,-]+)\]", part)
        if names and "," in names[1]:
            raise BadSetting(f"{group}={part} is no name: -m {group}={names[1]} makes a run for each{after}")
        if names:
            raise BadSetting(f"{group}={part} is no name: type {group}={names[1]}")
        if part[:1] in ("[", "{"):
            raise BadSetting(f"{group}={part} is no name: see kdbench ls")
        if group == "data" and "/" in part:
            raise BadSetting(f"data={part} is a folder: type data=image_folder data.root={part}")
        if part == "null":
            raise BadSetting(f"{group}=null is unknown: {nearest(part, options(group, folders))}")
    if len(split(value)) > 1 and not several:
        raise BadSetting(f"{group}={value} is several values: -m makes a run for each{after}")


def check_knob(name: str, value: str, choices: Sequence[Path], several: bool) -> None:
    """Refuse what the knob `name` does not take, by what the YAML files of `choices` give it."""
    knob = name.partition(".")[2].partition(".")[0]
    given = [knobs(path).get(knob) for path in choices]
    if given and all(isinstance(one, bool) for one in given):
        check_bool(name, value)
    listed = f"'{name}=[{value}]'"
    if name == "compress.teacher" and choices and all(map(learns_from_several, choices)):
        check_one(name, value, several, f", {listed} is an ensemble")
    elif any(isinstance(one, list) for one in given) and "[" not in value and len(split(value)) > 1:
        each = ",".join(f"[{part}]" for part in split(value))
        raise BadSetting(f"{name}={value} is no list: type {listed}, or -m '{name}={each}' for a run each")
    elif any(one is None for one in given):
        check_one(name, value, several, f", {listed} is one list")
    check_one(name, value, several)


def learns_from_several(choice: Path) -> bool:
    """Whether every step of a compression that has a teacher may have an ensemble."""
    node = read(choice)
    steps = node.get("steps") or [node]
    return all(step.get("_target_") == OF_AN_ENSEMBLE for step in steps if "teacher" in step)


def as_typed(settings: Mapping[str, Any]) -> list[str]:
    """Return settings as one types them for `kdbench run`."""
    return [f"{name}={in_hydra(value)}" for name, value in settings.items()]


def in_hydra(value: Any) -> str:
    """Return a value as Hydra reads it."""
    import yaml

    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{in_hydra(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(in_hydra, value)) + "]"
    if isinstance(value, str) and not (PLAIN.fullmatch(value) and str(yaml.safe_load(value)) == value):
        return "'" + value.replace("'", "\\'") + "'"
    return as_yaml(value)
