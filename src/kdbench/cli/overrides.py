"""SETTING=VALUE as typed for `run` and `sweep`: checked and put in order, before Hydra sees it. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser

from kdbench.cli import values
from kdbench.errors import BadSetting
from kdbench.settings import normalisation, outputs_url, own_folder, schema
from kdbench.settings.choices import GROUPS, SWEEPS, config_dir, options, read
from kdbench.settings.knobs import named_by_yaml, require_knob

SETTING = re.compile(r"(\+{0,2})([\w./@:-]+)=(.*)", re.DOTALL)
HOME = re.compile(r"(['\"]?)(~(?:/[^,]*?)?)\1")
HOME_INSIDE = re.compile(r"(?<=[\[{,:])~(?=/)")  # of a list or a mapping
PATHS = ("outputs", "data.root", "data.cache", "weights", "compress.teacher")


@dataclass(frozen=True)
class Override:
    """One setting as typed: `sign` is what Hydra adds keys by, "", "+" or "++"."""

    sign: str
    name: str
    value: str

    def __str__(self) -> str:
        return f"{self.sign}{self.name}={self.value}"


def for_hydra(arguments: Sequence[str]) -> list[str]:
    """Return settings first, then flags: Hydra wants one kind together, people type `-m` anywhere.

    Raises `BadSetting` for unknown names and flags.
    """
    parser = get_args_parser()

    def error(message: str) -> NoReturn:
        raise BadSetting(f"{message}: see kdbench run --help")

    parser.error = error  # type: ignore[method-assign]
    given = parser.parse_intermixed_args(arguments)
    if given.config_path or given.config_name or given.experimental_rerun:
        raise BadSetting(
            "--config-path, --config-name and --experimental-rerun are refused: --config-dir adds choices"
        )
    folders = [config_dir()]
    if given.config_dir:
        own_folder.serve(Path(given.config_dir))
        folders.insert(0, Path(given.config_dir))
    typed = outputs_and_remote([parsed(text) for text in given.overrides])
    chosen = {one.name: one.value for one in typed if one.name in GROUPS}
    settings = [checked(one, chosen, folders, several=given.multirun) for one in typed]
    return [*settings, *(argument for argument in arguments if argument not in given.overrides)]


def outputs_and_remote(typed: Sequence[Override]) -> list[Override]:
    """Return the settings, with a URL given as outputs= parted into remote= and a folder. Raises `BadSetting`."""
    plain = {one.name: one.value.strip("'\"") for one in typed if one.name in outputs_url.NAMES}
    places = outputs_url.apart(plain)
    if places == plain:
        return list(typed)
    others = [one for one in typed if one.name not in outputs_url.NAMES]
    return [*others, *(Override("", name, f"'{place}'") for name, place in places.items())]


def name_of(setting: str) -> str:
    """Return what a typed setting is called, such as `train.epochs`."""
    return setting.partition("=")[0].lstrip("+")


def by_name(settings: Sequence[str]) -> dict[str, Any]:
    """Return settings that are checked already by their names, with values as Python has them.

    Raises `BadSetting` for several values.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    found = {}
    for text in map(str, settings):
        one = OverridesParser.create().parse_override(text)
        if one.is_sweep_override():
            raise BadSetting(f"{text} is several values: type one")
        found[one.key_or_group] = one.value()
    return found


def parsed(text: str) -> Override:
    """Return what was typed as `text`. Raises `BadSetting` if it is no setting."""
    if text.startswith("~") and "=" in text:
        raise BadSetting(f"{text} takes away a setting that every run needs: type SETTING=VALUE instead")
    found = SETTING.fullmatch(text)
    if not found:
        raise BadSetting(f"'{text}' is not SETTING=VALUE: see kdbench run --help")
    sign, name, value = found.groups()
    home = HOME.fullmatch(value)
    if name in PATHS and home:  # which the shell leaves, and Hydra refuses
        value = f"'{Path(home[2]).expanduser()}'"
    elif name == "compress.teacher":
        value = HOME_INSIDE.sub(str(Path.home()), value)
    elif (name == "weights_except" or normalisation.looks_like_numbers(value)) and value[:1] not in "'\"":
        value = f"'{value}'"  # its commas do not part the values of a multirun
    return Override(sign, name, value)


def checked(one: Override, chosen: dict[str, str], folders: Sequence[Path], several: bool) -> str:
    """Return the setting for Hydra, `several` in a multirun. Raises `BadSetting` if there is none of its name."""
    if one.name == "hydra.searchpath":
        raise BadSetting("hydra.searchpath is refused: --config-dir adds choices")
    if re.match(r"hydra[./]", one.name) or "@" in one.name:
        return str(one)
    if str(one) == "outputs=":
        raise BadSetting("outputs= names no folder: type outputs=FOLDER, or leave it out")
    if one.name in schema.BY_NAME:
        for folder in folders:
            if (folder / one.name).is_dir():  # Hydra would look there for a choice of that name
                raise BadSetting(
                    f"--config-dir {folder} holds a folder {one.name}, which is a setting too: "
                    "keep YAML of your own in a folder apart, such as --config-dir mine"
                )
        if schema.BY_NAME[one.name].kind is bool:
            values.check_bool(one.name, one.value)
        values.check_one(one.name, one.value, several)
        return f"{one.name}={one.value}"
    if one.name == "experiment" and not one.sign:
        raise BadSetting(f"experiment is not chosen yet: type +{one}")
    if (
        one.name == "experiment"
        and (found := options("experiment", folders).get(one.value))
        and SWEEPS in read(found)
    ):
        raise BadSetting(f"+{one.name}={one.value} is several sweeps: type kdbench sweep {one}")
    if one.name in GROUPS:
        if one.sign and one.name != "experiment":
            raise BadSetting(f"{one.name} is chosen already: type {one.name}={one.value}, without {one.sign}")
        if one.name != "experiment":  # of which there may be a list
            values.check_choice(one.name, one.value, folders, several)
        return str(one)
    return checked_knob(one, chosen, folders, several)


def checked_knob(one: Override, chosen: dict[str, str], folders: Sequence[Path], several: bool) -> str:
    """Return the setting of a choice, such as `compress.sparsity`, for Hydra."""
    if not named_by_yaml(one.name, one.sign):
        return str(one)
    values.check_knob(one.name, one.value, require_knob(one.name, chosen, folders), several)
    # In a multirun over choices, Hydra asks the default one, which may lack it.
    return f"++{one}" if several else str(one)
