"""What Hydra and OmegaConf raise, said in one line with the nearest valid name. Imports no torch."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException, ValidationError

from kdbench.errors import KdbenchError, nearest, printable
from kdbench.settings.choices import GROUPS, config_dir, options, settings
from kdbench.storage import durable


def explain(error: BaseException) -> str:
    """Return one line for `error`. What is no user's mistake is named by its type."""
    return printable(explained(error))


def explained(error: BaseException) -> str:
    """Return what there is to say."""
    if isinstance(error, KdbenchError):
        return one_line(error)
    for seen in chain(error):
        if isinstance(seen, KdbenchError):
            return one_line(seen)
        if isinstance(seen, MissingConfigException) and seen.missing_cfg_file:
            return missing_choice(seen)
        if isinstance(seen, OverrideParseException):
            return f"'{seen.override}' cannot be read: type SETTING=VALUE, in quotes if need be"
        if isinstance(seen, ValidationError):
            return wrong_type(error, seen)
    if isinstance(error, MemoryError) or re.search("out of memory|can't allocate memory", str(error), re.I):
        return f"out of memory ({one_line(error)})"
    if isinstance(error, ConfigCompositionException | HydraException | OmegaConfBaseException):
        return several_values(error) or unknown_setting(error) or one_line(error)
    if isinstance(error, OSError):
        return durable.reason(Path(error.filename), error) if error.filename else one_line(error)
    if raised_in(error).startswith(("hydra.", "omegaconf.", "antlr4.")):
        return f"the settings cannot be read ({one_line(error)}): see kdbench run --help"
    return f"{type(error).__name__}: {one_line(error)} (HYDRA_FULL_ERROR=1 shows where)"


def raised_in(error: BaseException) -> str:
    """Return the name of the module that raised `error`."""
    trace = error.__traceback__
    name = ""
    while trace is not None:
        name = trace.tb_frame.f_globals.get("__name__", "")
        trace = trace.tb_next
    return str(name)


def chain(error: BaseException) -> list[BaseException]:
    """Return `error` and what it was raised from."""
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in links:
        links.append(link)
        link = link.__cause__ or link.__context__
    return links


def one_line(error: BaseException) -> str:
    """Return the first line of the message that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def missing_choice(error: MissingConfigException) -> str:
    """Say which choice there is instead of `model=cnn_dep`."""
    group, _, name = str(error.missing_cfg_file).rpartition("/")
    known = list(error.options or options(group, folders()))
    return f"{group}={name} is unknown: {nearest(name, known)}"


def wrong_type(outer: BaseException, error: ValidationError) -> str:
    """Say which setting wanted what: `train.epochs=many is not a whole number`."""
    typed = re.search(r"Error merging override '?([^\s']+)'?", " ".join(str(link) for link in chain(outer)))
    key = error.full_key or ""
    wanted = {"Integer": "a whole number", "Float": "a number", "String": "text"}
    kind = re.search(r"could not be converted to (\w+)", str(error))
    if typed and kind:
        return f"{typed[1]} is not {wanted.get(kind[1], kind[1])}"
    if typed and "not a valid bool" in str(error):
        return f"{typed[1]} is neither true nor false"
    return f"{typed[1] if typed else key}: {one_line(error)}"


def several_values(error: BaseException) -> str | None:
    """Say what to type instead of `seed=0,1` in a single run, or of two choices in one group."""
    listed = re.match(r"Ambiguous value for argument '([^=]+)=(.*)'", str(error))
    if listed:
        name, values = listed.groups()
        one = f", {name}=[{values}] is one list" if "." in name else ""
        return f"{name}={values} is several values: -m makes a run for each{one}"
    twice = re.match(r"Multiple values for ([^.]+)\. To override a value use 'override [^:]+: (.*)'", str(error))
    if twice:
        group, name = twice.groups()
        return f"{group} is chosen already: type {group}={name} once, and without +"
    return None


def unknown_setting(error: BaseException) -> str | None:
    """Say which setting there is instead of `train.epoch`, or which choice the setting belongs to."""
    typed = re.search(r"Could not (?:override|append to config|delete from config)[^']*'([^'@]+)", str(error))
    if typed is None:
        return None
    key = typed[1].lstrip("+~")
    known = settings(folders())
    if key in known and key not in GROUPS:
        group = key.partition(".")[0]
        owners = ",".join(known[key])
        chosen = {name for text in sys.argv if text.startswith(f"{group}=") for name in text.split("=")[1].split(",")}
        if chosen and chosen <= set(known[key]):
            # In a multirun over choices, Hydra asks the default one for the setting.
            return f"{key} is not a setting of the default {group}: in a multirun over {group}, type ++{key}=..."
        return f"{key} is not a setting of every {group} here, only of {owners}: type {group}={owners} beside it"
    if key in known:
        added = re.search(rf"use (\+{key}=.*)", str(error))
        if added:
            return f"{key} is not chosen yet: type {added[1]}"
        return f"{key} cannot be given like this: type {key}=..."
    return f"{key} is not a setting: {nearest(key, known)}"


def folders() -> list[Path]:
    """Return the configuration folders of this command line."""
    given = []
    for flag, value in zip(sys.argv, [*sys.argv[1:], ""], strict=False):
        if flag in ("--config-dir", "-cd"):
            given.append(Path(value))
        elif flag.startswith("--config-dir="):
            given.append(Path(flag.partition("=")[2]))
    return [*given, config_dir()]
