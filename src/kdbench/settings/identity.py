"""What identifies a thing that a YAML names: its knobs, the files they name, and the code that makes it."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from kdbench.settings import targets
from kdbench.settings.code import DECIDING, code_of
from kdbench.settings.config import Config, name_of, to_plain
from kdbench.settings.earlier_run import shaped_by
from kdbench.settings.network import NetworkSpec
from kdbench.version import __version__

MAKER = "kdbench.networks.maker"
# What decides the figures of a row beside that.
MEASURING = ("kdbench.artifact", "kdbench.evaluation", "kdbench.experiment", "kdbench.results.describe")
MEASURERS = ("kdbench.artifact.ship", "kdbench.evaluation.measure", *MEASURING[2:])


def release() -> str:
    """Return what kdbench this is: its version, and 8 hex digits over its own code that decides every row."""
    return f"{__version__} (code {code_of([MAKER, *MEASURERS], (*DECIDING, *MEASURING))[:8]})"


def of_node(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that decides what `node` makes: knobs, unnamed defaults included, named files, and code."""
    target = targets.locate(node["_target_"])
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(target).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    module = node["_target_"].rpartition(".")[0]
    return {**defaults, **node, "_files_": dict(files_in(node)), "_code_": code_of([MAKER, module])}


def of_network(spec: NetworkSpec) -> dict[str, Any]:
    """Return everything of a network before its steps that decides its weights; its name does not."""
    return {
        "model": of_node(spec.model),
        "train": asdict(spec.recipe),
        "seed": spec.seed,
        "weights": [content for _, content in files_in(spec.weights)],
        "shaped_by": [of_node(one["method"]) for one in shaped_by(spec.weights)],
        "weights_except": spec.weights_except,
        "normalise": spec.normalise,
        "view": spec.view,
    }


def identified(config: Config) -> Config:
    """Return `config` with the hashes of the code and of the files that decide its row.

    Raises `BadSetting` if it names code that may not be run.
    """
    network = to_plain(config)["network"]
    hashes = {"row": code_of_row(config)}
    for one in (config.network, *config.teachers):
        hashes[name_of(one)] = code_of_rows(one.uncompressed)
    return replace(config, code=hashes, files=dict(files_in(network)))


def code_of_row(config: Config) -> str:
    """Return the hash of the code that decides the row of `config`. Raises `BadSetting` as `identified` does."""
    return code_of_rows(config.network)


def code_of_rows(network: NetworkSpec) -> str:
    """Return the hash of the code that decides all rows of a network."""
    modules = [target.rpartition(".")[0] for target in targets_of(network)]
    return code_of([MAKER, *MEASURERS, *modules], (*DECIDING, *MEASURING))


def targets_of(network: NetworkSpec) -> list[str]:
    """Return the targets that make a network: of its model, of its steps and of its teachers, but of no data."""
    shaping = [one["method"] for one in shaped_by(network.weights)]
    own = [node["_target_"] for node in (network.model, *shaping, *(step.method for step in network.steps))]
    return own + [target for step in network.steps for teacher in step.teachers for target in targets_of(teacher)]


def targets_in(node: Any) -> list[str]:
    """Return every `_target_` in a plain description."""
    if isinstance(node, list):
        return [target for item in node for target in targets_in(item)]
    if not isinstance(node, dict):
        return []
    own = [node["_target_"]] if "_target_" in node else []
    return own + [target for item in node.values() for target in targets_in(item)]


def files_in(value: Any) -> Iterator[tuple[str, str]]:
    """Yield path and SHA-256 of every file that a text somewhere in `value` is the path of."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from files_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from files_in(item)
    elif isinstance(value, str | Path):
        path = Path(value)
        try:
            # A word without an ending is no file, though one may be called so where the command is typed.
            if (path.suffix or path.is_absolute()) and path.is_file():
                yield str(value), content_hash(path)
        except (OSError, ValueError):
            return


def content_hash(path: Path) -> str:
    """Return the SHA-256 of a file, and of the weights that torch's exporter puts beside an ONNX file.

    What is beside it counts for a file of any name: ONNX files need not be called so.
    """
    digest = hashlib.sha256(path.read_bytes())
    beside = path.with_name(f"{path.name}.data")
    if beside.is_file():
        digest.update(beside.read_bytes())
    return digest.hexdigest()
