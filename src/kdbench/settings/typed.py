"""Settings as Python has them, to a `Config`: `train={"epochs": 2}` is what `train.epochs=2` is on the command line.

Both are one run. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException, ValidationError

from kdbench.errors import BadSetting, nearest
from kdbench.settings import outputs_url, own_folder, schema
from kdbench.settings.choices import GROUPS, WITH_KNOBS, config_dir, options
from kdbench.settings.compose import outputs_of, resolve
from kdbench.settings.config import Config
from kdbench.settings.knobs import named_by_yaml, require_knob
from kdbench.settings.search_path import searched

OPENED = (*WITH_KNOBS, "train", "teacher_train")  # whose settings may be given as one dict

Flat = dict[str, Any]
"""Settings by their dotted names; values as YAML has them."""


def flattened(settings: Mapping[str, Any]) -> Flat:
    """Return the settings by their dotted names. Raises `BadSetting` for what is given twice."""
    flat: Flat = {}
    for name, value in settings.items():
        opened = {f"{name}.{key}": item for key, item in value.items()} if _opened(name, value) else {name: value}
        for dotted, item in opened.items():
            if dotted in flat:
                raise BadSetting(f"{dotted} is given twice: as a dict and as a name")
            flat[dotted] = plain(dotted, item)
    return flat


def _opened(name: str, value: Any) -> bool:
    return name in OPENED and isinstance(value, Mapping)


def plain(name: str, value: Any) -> Any:
    """Return `value` as YAML says it: a path as text, a tuple, a range or an array as a list."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(name, item) for key, item in value.items()}
    if isinstance(value, list | tuple | range):
        return [plain(name, item) for item in value]
    if callable(getattr(value, "tolist", None)):  # NumPy's numbers and arrays
        return plain(name, value.tolist())
    raise BadSetting(f"{name} is a {type(value).__name__}: give a number, a text, a path, a list, a dict or None")


def config_of(flat: Flat, own: Path | str | None = None) -> Config:
    """Return the configuration of one run; `own` is a folder of choices and Python of the user's own.

    Raises `BadSetting`, in the words of the command line, for names that nobody knows and values out of range.
    """
    flat = outputs_url.apart(flat)
    folders = folders_of(own)
    chosen = {name: _choice(name, value, folders) for name, value in flat.items() if name in GROUPS}
    others = {name: value for name, value in flat.items() if name not in GROUPS}
    for name in others:
        _require_known(name, chosen, folders)
    choices = [f"{'+' if group == 'experiment' else ''}{group}={name}" for group, name in chosen.items()]
    with searched(folders):
        try:
            composed = hydra.compose("config", choices, return_hydra_config=True)
            names = dict(composed.hydra.runtime.choices)
            with open_dict(composed):
                del composed["hydra"]
            for name, value in others.items():
                _set(composed, name, value)
            outputs = QuotedString(str(outputs_of(composed)), Quote.single).with_quotes()
            return resolve(composed, names, [*choices, f"outputs={outputs}"], folders)
        except (HydraException, OmegaConfBaseException) as error:
            raise BadSetting(f"the settings cannot be read ({_first_line(error)})") from error


def folders_of(own: Path | str | None) -> list[Path]:
    """Return the folders in which choices are looked for, once the Python in the user's own can be imported."""
    if own is None:
        return [config_dir()]
    own_folder.serve(Path(own))
    return [Path(own).absolute(), config_dir()]


def _choice(group: str, name: Any, folders: Sequence[Path]) -> str:
    """Return the name of a choice. Raises `BadSetting` if there is none."""
    if isinstance(name, list):
        raise BadSetting(f"{group}={name} is several values: kdbench.sweep makes a run for each")
    known = options(group, folders)
    if name not in known:
        raise BadSetting(f"{group}={name} is unknown: {nearest(str(name), known)}")
    return str(name)


def _require_known(name: str, chosen: Mapping[str, str], folders: Sequence[Path]) -> None:
    """Raise `BadSetting` if there is no setting of this name; one with a + is for a choice's own code to judge."""
    bare = name.lstrip("+")
    if bare not in schema.BY_NAME and named_by_yaml(bare, name.removesuffix(bare)):
        require_knob(bare, chosen, folders)


def _set(composed: DictConfig, name: str, value: Any) -> None:
    bare = name.lstrip("+")
    if name == "outputs" and value == "":
        raise BadSetting("outputs= names no folder: give one, or leave it out")
    try:
        OmegaConf.update(composed, bare, value, force_add=bare != name)
    except ValidationError as error:
        takes = schema.BY_NAME[bare].takes if bare in schema.BY_NAME else "what its YAML says"
        raise BadSetting(f"{bare}={value} is not {takes}") from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
