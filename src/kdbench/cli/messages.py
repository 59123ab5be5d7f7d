"""What is raised, in one line. Imports no torch.

Of Hydra's and OmegaConf's messages, those that users meet are put in our words: unknown choices, wrong types, several
values without -m. (Unknown settings are found before Hydra is asked.) Of the others, the first line is shown.
"""

from __future__ import annotations

import re
from pathlib import Path

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigTypeError, ValidationError
from yaml import MarkedYAMLError

from kdbench.cli.launchers import OF_HYDRA, not_installed
from kdbench.errors import KdbenchError, nearest, printable
from kdbench.settings import schema
from kdbench.settings.choices import config_dir, options
from kdbench.storage import durable

SWEEPERS = ("optuna", "ax", "nevergrad")  # of Hydra's plugins
LIBRARIES = ("hydra", "omegaconf", "antlr4")


def explain(error: BaseException) -> str:
    """Return one line for `error`. What is no user's mistake is named by its type."""
    return printable(explained(error))


def explained(error: BaseException) -> str:
    """Return what there is to say."""
    for link in chain(error):
        if isinstance(link, KdbenchError):
            return one_line(link)
        if isinstance(link, MissingConfigException) and link.missing_cfg_file:
            return unknown_choice(link)
        if isinstance(link, MarkedYAMLError) and link.problem_mark:
            return f"{link.problem_mark.name}, line {link.problem_mark.line + 1}: this is no YAML: {link.problem}"
        if isinstance(link, OverrideParseException):
            return f"'{link.override}' cannot be read: type SETTING=VALUE, in quotes if need be"
        if isinstance(link, ValidationError):
            return wrong_type(error, link) or one_line(error)
    if isinstance(error, MemoryError) or re.search("out of memory|can't allocate memory", str(error), re.I):
        return f"out of memory ({one_line(error)})"
    if isinstance(error, OSError):
        return durable.reason(Path(error.filename), error) if error.filename else one_line(error)
    if type(error).__module__.startswith(LIBRARIES):
        return several_values(error) or list_or_settings(error) or one_line(error)
    if raised_in(error).startswith(LIBRARIES):
        return f"the settings cannot be read ({one_line(error)}): see kdbench run --help"
    return f"{type(error).__name__}: {one_line(error)} (HYDRA_FULL_ERROR=1 shows where)"


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


def raised_in(error: BaseException) -> str:
    """Return the name of the module that raised `error`."""
    trace = error.__traceback__
    name = ""
    while trace is not None:
        name = trace.tb_frame.f_globals.get("__name__", "")
        trace = trace.tb_next
    return str(name)


def unknown_choice(error: MissingConfigException) -> str:
    """Say which choice there is instead of `model=cnn_dep`."""
    group, _, name = str(error.missing_cfg_file).rpartition("/")
    if group == "hydra/launcher" and name in OF_HYDRA:
        return str(not_installed(f"{group}={name}", OF_HYDRA[name]))
    if group == "hydra/sweeper" and name in SWEEPERS:
        return f"{group}={name} is not installed: docs/scale.md says how; kdbench search chooses settings too"
    known = list(error.options or options(group, [config_dir()]))
    return f"{group}={name} is unknown: {nearest(name, known)}"


def wrong_type(error: BaseException, reason: ValidationError) -> str | None:
    """Say what a setting takes: `train.epochs=many is not a whole number of at least 0`; of Hydra's, its reason."""
    typed = re.search(r"Error merging override '?([^\s']+)", " ".join(map(str, chain(error))))
    setting = schema.BY_NAME.get(typed[1].partition("=")[0].lstrip("+")) if typed else None
    if typed is None:
        return None
    return f"{typed[1]} is not {setting.takes}" if setting else f"{typed[1].strip(chr(39))}: {one_line(reason)}"


def several_values(error: BaseException) -> str | None:
    """Say what to type instead of `seed=range(3)` in a single run."""
    if own := re.match(r"Sweeping over Hydra's configuration is not supported : '(.*)'", str(error)):
        return f"{own[1]} is several values, and Hydra's own settings take one: type one of them"
    typed = re.match(r"Sweep parameters '(.*)' requires --multirun", str(error))
    return f"{typed[1]} is several values: -m makes a run for each" if typed else None


def list_or_settings(error: BaseException) -> str | None:
    """Say what to type where a YAML has a list and `{settings}` were typed, or the other way round."""
    unlike = next((link for link in chain(error) if isinstance(link, ConfigTypeError)), None)
    if unlike is None:
        return None
    typed = re.match(r"Error merging override \+*([^=]+)=(.*)", str(error))
    if not typed:
        return f"{one_line(error)} {one_line(unlike)}"
    name, value = typed.groups()
    takes = "a list, such as [A,B]" if value.startswith("{") else "settings, such as {A:1}"
    return f"{name}={value}: its YAML has {takes}"
