"""What a student learns from beside, or in the place of, the training set. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from kdbench.errors import BadSetting, nearest
from kdbench.settings.choices import options, read
from kdbench.settings.composed import data_from, group, require_choice, update
from kdbench.settings.composing import compose
from kdbench.settings.network import DataSpec, plain

JOINED = "kdbench.data.joined.load"


def transfer(described: Any, folders: Sequence[Path], outputs: Path) -> DataSpec:
    """Return the data set that a name, settings of its own, or a list of such describe; of a list, all together."""
    if isinstance(described, list):
        if not described:
            raise BadSetting("compress.transfer=[] names no data: type compress.transfer=[train,munge]")
        parts = [transfer(one, folders, outputs) for one in described]
        node = {"_target_": JOINED, "parts": [plain(part) for part in parts]}
        return DataSpec("+".join(part.name for part in parts), node, None, outputs / "data")
    settings = dict(described) if isinstance(described, dict) else {"data": str(described)}
    name = str(settings.pop("data", None))
    made_here = options("transfer", folders)
    if name not in made_here:
        require_choice("compress.transfer", name, "data", folders, list(made_here))
        return of_data(name, settings, folders, outputs)
    node = read(made_here[name])
    for knob, value in settings.items():
        if knob not in node or knob == "_target_":
            raise BadSetting(
                f"compress.transfer: {knob} is not a setting of {name}: {nearest(str(knob), [*node][1:])}"
            )
        node[knob] = value
    return DataSpec(name, node, None, outputs / "data")


def of_data(name: str, settings: dict[str, Any], folders: Sequence[Path], outputs: Path) -> DataSpec:
    """Return a data set of `kdbench ls` under settings of its own."""
    composed = compose([f"data={name}"], folders)
    OmegaConf.set_struct(composed, True)
    update(composed, {f"data.{knob}": value for knob, value in settings.items()})
    node = group(composed, "data")
    node.pop("fallback", None)
    if "cache" not in settings:
        del node["cache"]  # that of this run's outputs
    return data_from(name, node, outputs)
