"""One run, from configuration to row: the story of kdbench."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from onnx import ModelProto

from kdbench.artifact import export as exporting
from kdbench.artifact.file import Artifact, Artifacts
from kdbench.compress.step import FileStep, NetworkStep
from kdbench.data.load import load
from kdbench.data.splits import Splits
from kdbench.errors import BadSetting
from kdbench.evaluation.measure import measure, versions
from kdbench.networks import Networks, Trained, Trainer
from kdbench.results.row import Row
from kdbench.results.run_folder import RunFolder
from kdbench.settings import targets
from kdbench.settings.config import Config, digest
from kdbench.storage.store import Store
from kdbench.training import runtime
from kdbench.training.runtime import Runtime
from kdbench.training.together import Job, meet

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What a run leaves behind."""

    row: Row
    folder: Path
    was_done: bool = False  # before, by an earlier command or another process


def run(config: Config, seeds: Sequence[int] = (), started: Callable[[Path], None] = lambda _: None) -> Result:
    """Train, compress, write the file that would ship, measure it on the test set once, write one row.

    What is done already is not done again: a finished run gives its row, a training goes on from its checkpoint.
    `seeds` are those of the whole sweep, if this is the first run of its variant there: where it pays, the networks
    of all are trained at once, and the other runs find theirs in the store. `started` is called with the run's folder
    as soon as its settings are found to be possible.
    Raises a `KdbenchError` for everything that a user can mend; then no row is written.
    """
    network_steps, file_steps = steps(config)
    machine = runtime.resolve(config.device, config.precision, config.threads)
    asked = config.data.name
    config, splits = load(config)
    config = resolved(config, machine, splits)
    with RunFolder.of(config) as folder:
        done = None if config.again else folder.finished(versions())
        if done is not None:
            return Result(done, folder.path, was_done=True)
        folder.begin()
        log.info("%s, fingerprint %s; %s", config.data.name, splits.fingerprint, machine)
        if config.data.name != asked:
            log.info("%s was asked for and could not be had", asked)
        trainer = Trainer(splits, machine, Store(config.outputs / "store", config.checkpoint_seconds))
        trainer.initial(config.network)  # finds impossible sizes
        started(folder.path)
        if len(seeds) > 1 and config.trains_seeds_together:
            train_ahead(config, seeds, network_steps, trainer)
        networks = train(config, network_steps, trainer)
        artifacts = export(networks, file_steps, trainer.store)
        row = measure(config, machine, splits, networks, artifacts)
        folder.write(row, artifacts.shipped.content, networks.shipped.history)
    return Result(row, folder.path)


def resolved(config: Config, machine: Runtime, splits: Splits) -> Config:
    """Return `config` with what `auto` came to, the data's fingerprint, and the identity of the code it names."""
    nodes = [config.data.loader, config.network.model, *config.compress.steps]
    if config.teacher:
        nodes.append(config.teacher.model)
    code = {node["_target_"]: digest(targets.identity({"_target_": node["_target_"]})) for node in nodes}
    data = replace(config.data, fingerprint=splits.fingerprint)
    return replace(
        config, data=data, device=machine.device, precision=machine.precision, threads=machine.threads, code=code
    )


def steps(config: Config) -> tuple[list[NetworkStep], list[FileStep]]:
    """Make the steps of the compression, which checks their knobs; network steps come before file steps."""
    made = [targets.instantiate(node, "compress") for node in config.compress.steps]
    network_steps = [step for step in made if isinstance(step, NetworkStep)]
    file_steps = [step for step in made if isinstance(step, FileStep)]
    if made != [*network_steps, *file_steps]:
        raise BadSetting(f"compress={config.compress.name}: its steps must be NetworkSteps, followed by FileSteps")
    if any(step.from_scratch for step in network_steps[1:]):
        raise BadSetting(f"compress={config.compress.name}: a step that trains from scratch must come first")
    return network_steps, file_steps


def train(config: Config, network_steps: list[NetworkStep], trainer: Trainer) -> Networks:
    """Train what has to be trained, or take it from the store, and apply the steps that change the network."""
    network = trainer.initial(config.network)  # first, since it finds impossible sizes
    teacher = trainer.baseline(config.teacher) if config.teacher else None
    from_scratch = bool(network_steps) and network_steps[0].from_scratch
    baseline = trainer.in_use(network) if from_scratch and teacher else trainer.baseline(config.network)
    if not from_scratch:
        network = baseline
    for step, node in zip(network_steps, config.compress.steps, strict=False):
        network = trainer.compressed(step, node, network, config.network, teacher)
    return Networks(network, baseline, teacher)


def train_ahead(config: Config, seeds: Sequence[int], network_steps: list[NetworkStep], trainer: Trainer) -> None:
    """Train the networks of `config` under all `seeds` at once, into the store.

    What cannot be trained so is only reported: its own run trains it alone, and fails there if it must.
    """

    def job(seed: int) -> Job:
        return lambda seat: train(config.at_seed(seed), network_steps, trainer.seated(seat))

    for seed, error in zip(seeds, meet([job(seed) for seed in seeds]), strict=True):
        if error is not None:
            log.warning("seed %d could not be trained with the others (%s): it is trained alone", seed, error)


def export(networks: Networks, file_steps: list[FileStep], store: Store) -> Artifacts:
    """Write the network as the file that ships, and as files those it is compared with."""
    plain = file = exported(networks.shipped, store)
    for step in file_steps:
        file = step(file)
    baseline = plain if networks.baseline is networks.shipped else exported(networks.baseline, store)
    teacher = exported(networks.teacher, store) if networks.teacher else None
    return Artifacts(Artifact(file), Artifact(baseline), Artifact(teacher) if teacher else None)


def exported(trained: Trained, store: Store) -> ModelProto:
    """Return the file of a network: from the store, since the exporter takes seconds, or written and put there."""
    exporters = {package: version(package) for package in ("onnx", "onnxscript")}
    identity = {"export of": trained.key, "format": exporting.FORMAT, **exporters}
    key = digest(identity)[:32]
    content = store.file(key)
    if content is not None:
        return ModelProto.FromString(content)
    with store.making(key, f"the file of {trained.key[:8]}"):
        content = store.file(key)  # another process may have been at it
        if content is not None:
            return ModelProto.FromString(content)
        file = exporting.export(trained.network)
        store.put_file(key, file.SerializeToString(deterministic=True), identity)
    return file
