"""Which names of settings there are: those of the schema, the groups of choices, and the knobs of what is chosen."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from kdbench.errors import BadSetting, nearest
from kdbench.settings import schema
from kdbench.settings.choices import GROUPS, WITH_KNOBS, chosen_by_default, is_created, knobs, options, read

MISTYPED = 0.8  # how alike two names are (difflib) of which the one may be meant by the other
NO_KNOBS = ("_target_", "steps")  # what a choice is made of, besides
PART = re.compile(r"(?:[^,(]|\([^()]*\))+")  # between commas that stand in no parentheses


def named_by_yaml(name: str, sign: str) -> bool:
    """Whether a YAML must name the setting `name` of a choice.

    An argument that is added to a choice (`sign` is what Hydra adds keys by, "+") is named by none: whether there is
    one shows when it is called.
    """
    group, _, rest = name.partition(".")
    knob = rest.partition(".")[0]
    return group not in WITH_KNOBS or not (sign or knob in NO_KNOBS or f"{group}.{knob}" in schema.BY_NAME)


def require_knob(name: str, chosen: Mapping[str, str], folders: Sequence[Path]) -> list[Path]:
    """Return the YAML files of what is `chosen`, all of which have the setting `name`, such as `compress.sparsity`.

    `chosen` holds what was typed for each group, as `chosen_options` reads it; `folders` are where choices lie.
    Raises `BadSetting` if one of them has none of that name.
    """
    group, _, rest = name.partition(".")
    knob = rest.partition(".")[0]
    known = options(group, folders) if group in WITH_KNOBS else {}
    owners = [name for name, path in known.items() if knob in knobs(path)]
    now = chosen_options(group, chosen, list(known)) if known else []
    if not owners:
        takes_more = [one for one in now if "called" in read(known[one])]
        if takes_more:  # one YAML for many, which names no arguments of each
            raise BadSetting(f"{name} stands in no YAML: if {group}={takes_more[0]} takes it, type +{name}=VALUE")
        known_names = all_names(folders)
        of_a_group = sorted(known for known in known_names if known.endswith(f".{name}"))
        # A setting of all runs that was typed as one of a group, or the reverse.
        meant = [rest] if rest in known_names else of_a_group
        hint = f"did you mean {' or '.join(meant)}?" if meant else nearest(name, known_names)
        raise BadSetting(f"{name} is not a setting: {hint}")
    others = [one for one in now if one not in owners]
    mixed = len(others) < len(now)  # some of what is chosen has it
    if others:
        hint = f"run {','.join(others)} apart"
        if not mixed:
            own = knobs(known[others[0]])
            close = difflib.get_close_matches(knob, own, n=1, cutoff=MISTYPED)
            if close:
                hint = f"did you mean {group}.{close[0]}?"
            elif group in chosen and own:
                hint = f"{others[0]} has {', '.join(own)}"
            else:
                hint = f"type {group}={min(owners, key=len)} beside it"
        raise BadSetting(f"{name} is a setting of {group}={','.join(owners)}, not of {','.join(others)}: {hint}")
    if "." in rest and any(is_created(read(known[one]).get(knob)) for one in now):
        raise BadSetting(f"{name} cannot be typed alone: type {group}.{knob}=... as a whole, see kdbench ls")
    return [known[one] for one in now]


def chosen_options(group: str, chosen: Mapping[str, str], known: Sequence[str]) -> list[str]:
    """Return the choices in `group` as far as they can be read off what was typed."""
    if group not in chosen and "experiment" in chosen:  # which may choose
        return []
    found = []
    for part in PART.findall(chosen.get(group, chosen_by_default()[group])):
        glob = re.fullmatch(r"glob\(\[?([^()\[\]]*)\]?\)", part)
        patterns = [pattern.strip("'\" ") for pattern in (glob[1].split(",") if glob else ())]
        found += [name for name in known if name == part or any(fnmatch.fnmatch(name, one) for one in patterns)]
    return found


def all_names(folders: Sequence[Path]) -> list[str]:
    """Return every name that can be typed."""
    own = [
        f"{group}.{knob}" for group in WITH_KNOBS for path in options(group, folders).values() for knob in knobs(path)
    ]
    return [*GROUPS, *schema.BY_NAME, *dict.fromkeys(own)]
