"""One run, from configuration to row: the story of kdbench."""

from __future__ import annotations

import contextlib
import logging
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kdbench.artifact.ship import ship
from kdbench.compress.step import Examples, FileStep, NetworkStep, require_sensible_order
from kdbench.data.load import load
from kdbench.data.splits import Splits
from kdbench.errors import BadSetting, Collapsed
from kdbench.evaluation.environment import processor, versions
from kdbench.evaluation.measure import measure
from kdbench.networks import Maker, method_of
from kdbench.results.row import Row
from kdbench.results.run_folder import RunFolder
from kdbench.settings import identity
from kdbench.settings.compose import knobs_in_words
from kdbench.settings.config import Config, to_plain
from kdbench.settings.network import NetworkSpec
from kdbench.storage.store import Store
from kdbench.training import runtime
from kdbench.training.runtime import Runtime
from kdbench.training.together import train_together

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What a run leaves behind."""

    row: Row
    folder: Path
    was_done: bool = False  # before, by an earlier command or another process


def run(config: Config, seeds: Sequence[int] = (), started: Callable[[Path], None] = lambda _: None) -> Result:
    """Make the network, write the file that would ship, measure it on the test set once, write one row.

    What is done already is not done again: a finished run gives its row, a training goes on from its checkpoint.
    `seeds` are those of the whole sweep: where it pays, the networks of all are trained at once. `started` is called
    with the run's folder as soon as its settings are found to be possible.
    Raises a `KdbenchError` for everything that a user can mend; then no row is written.
    """
    network, file_steps = split_steps(config)
    machine = runtime.resolve(config.device, config.precision, config.threads)
    machine.prepare()  # before anything is computed: how many threads sum decides bits
    asked = config.data.name
    data, splits = load(config.data, config.fallback)
    config = resolved(replace(config, data=data), machine, seeds)
    with RunFolder.of(config) as folder:
        done = None if config.again or config.retrain else folder.finished(versions())
        if done is not None:
            return Result(done, folder.path, was_done=True)
        folder.begin()
        log.info("%s, fingerprint %s; %s", data.name, data.fingerprint, machine)
        if data.name != asked:
            log.info("%s was asked for and could not be had", asked)
        store = Store(config.outputs / "store", remake=config.retrain)
        maker = Maker(splits, machine, store, config.checkpoint_seconds, config.together)
        maker.initial(network)  # finds impossible sizes
        started(folder.path)
        if config.together:
            train_ahead(network, config.teachers, maker)
        networks = maker.compared(network, config.teachers)
        examples = Examples(splits.train, splits.val, splits.class_names)
        artifacts = ship(networks, file_steps, examples, network.seed, store)
        figures = figures_of(config, machine, splits, networks, artifacts)
        row = row_of(config, machine, figures, networks.shipped.together)
        folder.write(row, artifacts.shipped.content, networks.shipped.history)
    return Result(row, folder.path)


def split_steps(config: Config) -> tuple[NetworkSpec, list[FileStep]]:
    """Return the network with the steps that change it, and those that change its file after that.

    Raises `BadSetting` for knobs out of range and for an order that makes no sense, here or in a teacher.
    """
    require_sensible_steps(config.network, config.compress)
    methods = [method_of(step) for step in config.network.steps]
    count = sum(isinstance(method, NetworkStep) for method in methods)
    files = [method for method in methods[count:] if isinstance(method, FileStep)]
    return replace(config.network, steps=config.network.steps[:count]), files


def require_sensible_steps(network: NetworkSpec, name: str) -> None:
    """Raise `BadSetting` if steps of the network or of a teacher cannot be done, or not in their order."""
    require_sensible_order(name, [method_of(step) for step in network.steps])
    for step in network.steps:
        for teacher in step.teachers:
            require_sensible_steps(teacher, f"{name}, teacher {teacher.name}")
            files = [type(m).__name__ for m in map(method_of, teacher.steps) if isinstance(m, FileStep)]
            if files:
                raise BadSetting(
                    f"compress.teacher: {files[0]} makes a file of {teacher.name}, which cannot teach: leave it out"
                )


def resolved(config: Config, machine: Runtime, seeds: Sequence[int]) -> Config:
    """Return `config` with what `auto` came to, and the identity of the code and the files that it names."""
    device, precision, threads = machine.device, machine.precision, machine.threads
    config = replace(config, device=device, precision=precision, threads=threads)
    together = tuple(sorted(set(seeds))) if len(set(seeds)) > 1 and config.trains_seeds_together else ()
    network = to_plain(config)["network"]
    modules = [target.rpartition(".")[0] for target in targets_in(network)]
    measuring = ["kdbench.evaluation.measure", "kdbench.artifact.ship", identity.MAKER]
    prefixes = (*identity.DECIDING, *identity.MEASURING)
    code = {"row": identity.code([*measuring, *modules], prefixes)}
    for one in (config.network, *config.teachers):
        module = one.model["_target_"].rpartition(".")[0]
        code[one.model["_target_"]] = identity.code([*measuring, module], prefixes)
    return replace(config, together=together, code=code, files=dict(identity.files_in(network)))


def targets_in(node: Any) -> list[str]:
    """Return every `_target_` in a plain description."""
    if isinstance(node, list):
        return [target for item in node for target in targets_in(item)]
    if not isinstance(node, dict):
        return []
    own = [node["_target_"]] if "_target_" in node else []
    return own + [target for item in node.values() for target in targets_in(item)]


def train_ahead(network: NetworkSpec, teachers: Sequence[NetworkSpec], maker: Maker) -> None:
    """Train the networks of all seeds at once, into the store, unless this run's lies there.

    What cannot be trained so is only reported: its own run trains it alone, and fails there if it must.
    """
    there = Store(maker.store.folder, remake=maker.store.remake, frozen=True)
    with contextlib.suppress(BadSetting):
        Maker(maker.splits, maker.runtime, there, together=maker.together).compared(network, teachers)
        return

    def job(seed: int) -> Any:
        apart = seed - network.seed
        others = [teacher.with_seed(teacher.seed + apart) for teacher in teachers]
        return lambda lane: maker.in_lane(lane).compared(network.with_seed(seed), others)

    for seed, error in zip(maker.together, train_together([job(seed) for seed in maker.together]), strict=True):
        if error is not None:
            log.warning("seed %d could not be trained with the others (%s): it is trained alone", seed, error)


def figures_of(config: Config, machine: Runtime, splits: Splits, networks: Any, artifacts: Any) -> dict[str, Any]:
    """Return what was measured. Raises `Collapsed`, with the name of the run, if the file gives one class only."""
    try:
        return measure(splits, machine, networks, artifacts, compressed=bool(config.network.steps))
    except Collapsed as error:
        name = f"{config.network.name} {config.compress} seed {config.network.seed}"
        raise Collapsed(f"{name}: {error} ({config.settings or 'nothing'})") from error


def row_of(config: Config, machine: Runtime, figures: dict[str, Any], together: int) -> Row:
    """Return the row: what was run, what was measured, and with what."""
    network, teachers = config.network, config.teachers
    seeds = {teacher.seed for teacher in teachers}
    return Row(
        dataset=config.data.name,
        model=network.name,
        compress=config.compress,
        teacher="+".join(map(name_of_teacher, teachers)) or None,
        teacher_seed=seeds.pop() if len(seeds) == 1 else None,
        settings=config.settings,
        architecture=knobs_in_words(network.model, "model."),
        recipe=" ".join(f"train.{name}={value}" for name, value in asdict(network.recipe).items()),
        weights=f"{network.weights.name}:{config.files[str(network.weights)][:8]}" if network.weights else None,
        teacher_settings=" ".join(words_of_teacher(teacher) for teacher in teachers) or None,
        seed=network.seed,
        **figures,
        device=machine.device,
        precision=machine.precision,
        threads=machine.threads,
        seeds_together=together,
        **processor(),
        python_version=platform.python_version(),
        **versions(),
        date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        code_hash=config.code["row"],
        config_hash=config.hash,
        variant_hash=config.variant,
        network_hash=config.network_hash,
        teacher_hash=config.teacher_hash,
        data_fingerprint=config.data.fingerprint,
    )


def name_of_teacher(teacher: NetworkSpec) -> str:
    """Return the name of a teacher's model, and of what was done to it."""
    return f"{teacher.name}-{teacher.compress}" if teacher.steps else teacher.name


def words_of_teacher(teacher: NetworkSpec) -> str:
    """Return the knobs of a teacher as words, such as `teacher.train.epochs=6`."""
    recipe = [f"teacher.train.{name}={value}" for name, value in asdict(teacher.recipe).items()]
    steps = [knobs_in_words(step.method, "teacher.compress.") for step in teacher.steps]
    others = [
        f"teacher.{word}"
        for step in teacher.steps
        for other in step.teachers
        for word in words_of_teacher(other).split(" ")
    ]
    weights = [f"teacher.weights={teacher.weights.name}"] if teacher.weights else []
    model = knobs_in_words(teacher.model, "teacher.model.")
    return " ".join(filter(None, [f"teacher.model={teacher.name}", model, *recipe, *weights, *steps, *others]))
