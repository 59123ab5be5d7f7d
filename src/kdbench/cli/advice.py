"""The command that makes the rows which a chart lacks: of the networks, data and seeds that are there already.

Imports no torch.
"""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdbench.results.row import Row
from kdbench.results.summary import METHODS
from kdbench.settings import outputs_url
from kdbench.settings.choices import chosen_by_default, config_dir, knobs, options, read
from kdbench.settings.network import knobs_in_words

RECIPE = "override /train@_global_.train"  # how a model's YAML chooses its recipe


def missing(rows: Sequence[Row], needed: Sequence[str], folder: Path) -> str:
    """Say why a chart that compares rows of the methods `needed`, of any two if none are named, cannot be drawn.

    With the command that makes what is missing, as far as the rows under `folder` tell.
    """
    there = {row.compress for row in rows}
    absent = [method for method in needed or METHODS if method not in there]
    if not needed:
        reason, absent = "two variants are needed", absent[:1]
    elif absent:
        reason = f"there is no row of compress={','.join(absent)}"
    else:
        reason, absent = "no two rows are of one network, seed and version", [*needed]
    methods = f"compress={','.join(absent)}"
    typed = settings(rows, folder)
    if typed is None:
        return f"{reason}: run {methods} with the model, the data and the settings of these rows"
    return f"{reason}: run {shlex.join(['kdbench', 'sweep', methods, *typed])}"


def settings(rows: Sequence[Row], folder: Path) -> list[str] | None:
    """Return what to type for the networks that most of `rows` are of; None if no choices of ours made them.

    Nor can those be typed again that started from given weights: rows do not know where those lie.
    """
    networks: dict[tuple[str | None, ...], list[Row]] = defaultdict(list)
    for row in rows:
        networks[row.model, row.architecture, row.recipe, row.weights].append(row)
    groups: dict[tuple[str, ...], list[tuple[str, list[Row]]]] = defaultdict(list)
    for members in networks.values():
        model = model_of(members[0])
        if model is not None and not members[0].weights:
            groups[unusual(members[0], model)].append((model, members))
    data = data_of(rows[0])
    if not groups or data is None:
        return None
    typed, alike = max(groups.items(), key=lambda group: sum(len(members) for _, members in group[1]))
    chosen = ",".join(dict.fromkeys(model for model, _ in alike))
    seeds = sorted({row.seed for _, members in alike for row in members})
    repeated = [] if seeds == [0] else [f"seed={','.join(map(str, seeds))}"]
    elsewhere = (folder / "runs").is_dir() and folder.resolve() != Path("outputs").resolve()
    return [
        f"data={data}",
        f"model={chosen}",
        *typed,
        *repeated,
        *([f"outputs={outputs_url.as_typed(folder)}"] if elsewhere else []),
    ]


def model_of(row: Row) -> str | None:
    """Return the choice of model that made a row: that of its name, or else the one with its knobs."""
    known = options("model", [config_dir()])
    if row.model in known:
        return row.model
    names = {word.partition("=")[0] for word in row.architecture.split()}
    alike = [
        name
        for name, path in known.items()
        if "called" in knobs(path) and {word.partition("=")[0] for word in words(path)} == names
    ]
    return alike[0] if len(alike) == 1 else None


def data_of(row: Row) -> str | None:
    """Return the choice of data that made a row; None of data that the name alone does not find."""
    return row.dataset if row.dataset in options("data", [config_dir()]) else None


def unusual(row: Row, model: str) -> tuple[str, ...]:
    """Return the settings of the network of a row, as typed, that are not those of the YAML files of its `model`."""
    path = options("model", [config_dir()])[model]
    recipe = recipe_of(read(path))
    usual = {*words(path), *(f"train.{name}={value}" for name, value in recipe.items())}
    return tuple(word for word in f"{row.architecture} {row.recipe}".split() if word not in usual)


def words(path: Path) -> list[str]:
    """Return the knobs of a model as a row has them."""
    return knobs_in_words({n: v for n, v in knobs(path).items() if n != "called"}, "model.").split()


def recipe_of(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe that the YAML of a model chooses."""
    chosen = [entry[RECIPE] for entry in model.get("defaults", []) if RECIPE in entry]
    return read(options("train", [config_dir()])[(chosen or [chosen_by_default()["train"]])[0]])
