"""One trial: a network, its file, and what the validation split says of them. No test image is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kdbench import experiment
from kdbench.artifact.ship import ship
from kdbench.compress.distill.layers import stages
from kdbench.compress.order import method_of, split_steps, teachers_of
from kdbench.compress.step import FileStep
from kdbench.data.load import load_for
from kdbench.data.splits import Splits
from kdbench.errors import BadSetting
from kdbench.evaluation import size, speed
from kdbench.evaluation.measure import on_validation
from kdbench.evaluation.predictions import pixels
from kdbench.models.network import parameters
from kdbench.networks.compared import Compared, baseline
from kdbench.networks.maker import Maker
from kdbench.networks.possible import require_possible
from kdbench.search.plan import TooLarge
from kdbench.search.space import Place
from kdbench.settings import identity
from kdbench.settings.config import Config
from kdbench.settings.network import NetworkSpec
from kdbench.settings.typed import Flat, config_of
from kdbench.storage import processes
from kdbench.storage.store import Store
from kdbench.training import runtime
from kdbench.training.progress import Epoch
from kdbench.training.runtime import Runtime


def settled(drawn: Mapping[str, Any], own: Path | None = None) -> Flat:
    """Return the settings with layers by their names, as they can be typed. Raises `BadSetting`."""
    flat = {name: value for name, value in drawn.items() if not isinstance(value, Place)}
    places = {name: value for name, value in drawn.items() if isinstance(value, Place)}
    if not places:
        return flat
    config = config_of(flat, own)
    student, _ = split_steps(config.network)
    data, splits = load_for(student, config.data, config.fallback)
    machine = runtime.resolve(config.device, config.precision, config.threads)
    config = experiment.resolved(replace(config, data=data), splits, machine, ())
    maker = Maker(splits, machine, Store(config.outputs / "store"))
    for name, place in places.items():
        of = config.network if place.of == "student" else first_teacher(config.network)
        names = list(stages(maker.initial(of.uncompressed).network, splits.shape, place.of))
        flat[name] = names[min(int(place.share * len(names)), len(names) - 1)]
    return flat


def first_teacher(network: NetworkSpec) -> NetworkSpec:
    """Return the teacher whose layers are meant. Raises `BadSetting` if there is none."""
    teachers = teachers_of(network)
    if not teachers:
        raise BadSetting("a layer of the teacher is to be drawn, and there is no teacher")
    return teachers[0]


def measured(
    config: Config, columns: Sequence[str], limits: Mapping[str, float], watch: Callable[[Epoch], None]
) -> dict[str, float]:
    """Make the network and its file; return the `columns`.

    `val_accuracy` is that of the file. `watch` is called with every epoch of the network's last training. Raises
    `TooLarge` if a limit is passed, where it can be known before any training.
    """
    network, file_steps = split_steps(config.network)
    machine = runtime.resolve(config.device, config.precision, config.threads)
    machine.prepare()
    data, splits = load_for(network, config.data, config.fallback)
    config = experiment.resolved(replace(config, data=data), splits, machine, ())
    network = config.network.with_steps(len(network.steps))
    with processes.at_work(config.outputs, identity.release()) as count:
        store = Store(config.outputs / "store")
        maker = Maker(splits, machine, store, config.checkpoint_seconds, processes=count)
        require_possible(maker, network)
        splits = splits.without_test  # which the maker never sees either, but knows its networks by
        if limits and not file_steps and all(from_scratch(network)):
            untrained = maker.in_use(maker.initial(network.uncompressed))
            require_within(limits, of_files(Compared(untrained, untrained), (), splits, machine, store, [*limits]))
        maker.watched = (network, watch)
        shipped = maker.make(network)
        before = baseline(maker, network, answers=False) if "speedup" in columns else shipped
        found = of_files(Compared(shipped, before), file_steps, splits, machine, store, columns)
    require_within(limits, found)
    return found


def from_scratch(network: NetworkSpec) -> list[bool]:
    """Return of each step whether it trains the network anew, and so leaves its size as it is."""
    return [bool(getattr(method_of(step), "from_scratch", False)) for step in network.steps]


def require_within(limits: Mapping[str, float], found: Mapping[str, float]) -> None:
    """Raise `TooLarge` for the first limit that is passed."""
    for column, most in limits.items():
        if found[column] > most:
            raise TooLarge(f"{column} is {found[column]:,.10g}, and {most:,.10g} at most")


def of_files(
    networks: Compared,
    file_steps: Sequence[FileStep],
    splits: Splits,
    machine: Runtime,
    store: Store,
    columns: Sequence[str],
) -> dict[str, float]:
    """Return the columns that the file and the validation split decide."""
    task = experiment.task_of_files(splits, 0, networks.shipped.network, store)
    files = ship(networks, file_steps, task, store)
    file = files.shipped
    ways: dict[str, Callable[[], float | None]] = {
        "val_accuracy": lambda: on_validation(file, splits, machine),
        "parameters": lambda: parameters(networks.shipped.network),
        "macs": lambda: size.macs(file.file),
        "weight_bytes": lambda: size.weight_bytes(file.file),
        "size_bytes": lambda: file.size_bytes,
        "size_gzip_bytes": lambda: size.gzip_bytes(file.content),
        "packed_bytes": lambda: len(file.packed),
        "speedup": lambda: (
            speed.measure(
                file.content, files.baseline.content, pixels(splits.val.images[:256]), machine.threads_measuring
            ).speedup
        ),
    }

    found = {column: ways[column]() for column in columns}
    missing = [column for column, value in found.items() if value is None]
    if missing:
        raise BadSetting(f"{', '.join(missing)} could not be measured: other processes had the CPU too")
    return {column: float(value) for column, value in found.items() if value is not None}
