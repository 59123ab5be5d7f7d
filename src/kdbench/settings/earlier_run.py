"""What another run left, as something to start from: its weights, or its network as it is. Imports no torch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from kdbench.errors import BadSetting, DamagedFile
from kdbench.settings.config import Config, from_plain
from kdbench.settings.network import ONNX_FILE, NetworkSpec
from kdbench.settings.normalisation import DATA
from kdbench.settings.plain_yaml import load_plain
from kdbench.storage import checksums, durable
from kdbench.storage.safetensors_header import metadata

CONFIG = "config.yaml"
WEIGHTS = "weights.safetensors"
ARTIFACT = "model.onnx"
# Among the metadata of a file of weights.
FILE_STEPS, SHAPED_BY = "file_steps", "shaped_by"


def load_config(folder: Path) -> Config:
    """Return the configuration that a run folder, wherever it lies now, holds; nothing in it is called.

    Raises `DamagedFile` if it is not one.
    """
    path = folder / CONFIG
    try:
        return from_plain(load_plain(durable.read(path).decode()))
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        DamagedFile,
        yaml.YAMLError,
    ) as error:
        raise DamagedFile(f"{path} is not the configuration of a run ({error})", path) from error


def weights_in(folder: Path, setting: str) -> Path:
    """Return the file of the weights that the run in `folder` left, whole; of an ONNX file, the file.

    Raises `BadSetting`, with the name of the `setting`, if there is none, and `DamagedFile`.
    """
    if not (folder / CONFIG).is_file():
        raise BadSetting(f"{setting}={folder} is not the folder of a run: type a file, or outputs/runs/DATA/RUN")
    if not (folder / checksums.SUMS).is_file():
        raise BadSetting(f"{setting}={folder}: that run is not finished: type its command again")
    name = ARTIFACT if load_config(folder).network.model["_target_"] == ONNX_FILE else WEIGHTS
    try:
        if name in checksums.parse_at(folder):
            checksums.read(folder, [name])
            return folder / name
    except DamagedFile as error:
        raise DamagedFile(f"{setting}={folder} is damaged: {error}", error.path) from error
    raise BadSetting(
        f"{setting}={folder} holds no {WEIGHTS}, which earlier versions did not write: type its command again"
    )


def network_in(folder: Path, setting: str) -> NetworkSpec:
    """Return the network that the run in `folder` left, as it is: nothing in it is trained any more.

    Raises `BadSetting`, with the name of the `setting`, if there is none, and `DamagedFile`.
    """
    left = left_by(folder, setting)
    network = load_config(folder).network
    was_a_file = network.model["_target_"] == ONNX_FILE
    steps = (network.compress if network.steps else "") if was_a_file else file_steps(folder / WEIGHTS)
    if steps:
        raise BadSetting(
            f"{setting}={folder}: {steps} made a file of that {network.name}, which cannot teach: "
            "type the folder of a run without it"
        )
    return left


def left_by(folder: Path, setting: str) -> NetworkSpec:
    """Return the network that the run in `folder` left, as it was before what was done to its file alone.

    Raises as `network_in` does.
    """
    weights = weights_in(folder, setting)
    network = load_config(folder).network
    name = f"{network.name}-{network.compress}" if network.steps else network.name
    recipe = replace(network.recipe, epochs=0)
    normalise = DATA if weights.name == ARTIFACT else network.normalise  # the file has it inside
    shown = {"normalise": normalise, "view": network.view}
    return NetworkSpec(name, network.model, recipe, network.seed, weights, **shown, seed_is_fixed=True)


def require_as_trained(network: NetworkSpec) -> None:
    """Raise `BadSetting` if weights of a run, taken as they are, would be shown images in another way than there."""
    weights = network.weights
    if weights is None or network.recipe.epochs or weights.name != WEIGHTS or not (weights.parent / CONFIG).is_file():
        return
    trained = load_config(weights.parent).network
    for name in ("view", "normalise"):
        was, now = getattr(trained, name), getattr(network, name)
        if was != now:
            raise BadSetting(
                f"weights={weights.parent} were trained under {name}={was}, and not {now}: type {name}={was}"
            )


def name_of_weights(weights: Path) -> str:
    """Return what rows call a file of weights: by its name, or that of the run whose folder it lies in."""
    of_a_run = weights.name in (WEIGHTS, ARTIFACT) and (weights.parent / CONFIG).is_file()
    return weights.parent.name if of_a_run else weights.name


def file_steps(weights: Path) -> str:
    """Return which steps of the run changed its file, and so not these weights, or ""."""
    return metadata(weights).get(FILE_STEPS, "")


def file_steps_before(network: NetworkSpec) -> tuple[str, str] | None:
    """Return name and steps of given weights that are of a run after which its file was changed; None of others."""
    steps = file_steps(network.weights) if network.weights else ""
    return (name_of_weights(network.weights), steps) if network.weights and steps else None


def shaped_by(weights: Path | None) -> list[dict[str, Any]]:
    """Return the methods which gave the layers in the file `weights` other shapes than its model's, in their order.

    Each with its `method`, as a YAML has it, and the `shapes` after it, by the names of the weights.
    """
    try:
        found = json.loads(metadata(weights).get(SHAPED_BY, "[]")) if weights else []
        return [{"method": dict(one["method"]), "shapes": dict(one["shapes"])} for one in found]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []  # it is no file of kdbench
