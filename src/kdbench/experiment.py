"""One run, from configuration to row: the story of kdbench."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kdbench.artifact.classifier import Classifier, classifier
from kdbench.artifact.file import Artifacts
from kdbench.artifact.ship import ship
from kdbench.compress.order import is_compared, method_of, split_steps
from kdbench.compress.step import Examples, Fastest, Task, no_fit
from kdbench.data.load import load, load_for
from kdbench.data.overlap import require_apart
from kdbench.data.splits import Splits
from kdbench.errors import BadSetting, Collapsed
from kdbench.evaluation.environment import environment, versions
from kdbench.evaluation.fastest import FastestHere
from kdbench.evaluation.measure import measure, times
from kdbench.evaluation.predictions import pixels
from kdbench.evaluation.speed import THROUGHPUT_BATCH
from kdbench.models.weights_file import written
from kdbench.networks.ahead import train_ahead
from kdbench.networks.compared import Compared, compared
from kdbench.networks.initial import initialised
from kdbench.networks.maker import Maker
from kdbench.networks.possible import require_possible
from kdbench.results.describe import row_of
from kdbench.results.row import Row
from kdbench.results.run_folder import RunFolder
from kdbench.settings import code, identity
from kdbench.settings.config import Config, digest
from kdbench.settings.earlier_run import file_steps_before, left_by
from kdbench.settings.network import ONNX_FILE, DataSpec
from kdbench.storage import processes
from kdbench.storage.checksums import checksum
from kdbench.storage.mirror import mirror
from kdbench.storage.store import Store
from kdbench.training import runtime
from kdbench.training.runtime import Runtime

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What a run leaves behind."""

    row: Row
    folder: Path
    config: Config  # with all that `auto` came to
    was_done: bool = False  # before, by an earlier command or another process

    @cached_property
    def artifact(self) -> Classifier:
        """The file that ships, as a function: images to logits; `artifact.path` is where it lies.

        Raises `BadSetting` if another run has taken its place, and `DamagedFile`.
        """
        file = classifier(self.folder)
        if checksum(file.path.read_bytes()) != self.row.artifact_sha256:
            raise BadSetting(f"{self.folder} holds what a later run of other code made: read its row again")
        return file

    @cached_property
    def network(self) -> nn.Module:
        """The network in eval mode, as it was before what is done to its file alone (int8).

        Float32 images (n, channels, height, width) in [0, 1] to logits (n, classes). It is read when it is asked for,
        from `folder`; of an ONNX file, from that. Raises `BadSetting` and `DamagedFile` if it is not there any more.
        """
        given, file = self.config.network, self.artifact
        if identity.identified(self.config).code["row"] != self.row.code_hash:
            raise BadSetting(f"the code that made {self.folder.name} is another now: run it again")
        left = given.uncompressed
        if given.model["_target_"] != ONNX_FILE:
            left = left_by(self.folder, "network")
        elif dict(identity.files_in(given.weights)).items() - self.config.files.items() or not given.weights:
            raise BadSetting(f"weights={given.weights} is another file than it was")
        any_pixels = ([0.0], [1.0])  # its own normalisation is among its weights
        with torch.random.fork_rng(devices=[]):
            return initialised(left, file.shape, len(file.class_names), any_pixels).eval()


@code.in_use()
def run(
    config: Config,
    seeds: Sequence[int] = (),
    started: Callable[[Path], None] = lambda _: None,
    doing: Callable[[str], None] = lambda _: None,
    train_threads: int | None = None,
    fastest: Fastest | None = None,
) -> Result:
    """Make the network, write the file that would ship, measure it on the test set once, write one row.

    What is done already is not done again: a finished run gives its row, a training goes on from its checkpoint.
    `seeds` are those of the whole sweep: where it pays, the networks of all are trained at once. `started` is called
    with the run's folder as soon as its settings are found to be possible, `doing` with what comes next: training,
    exporting, measuring, timing. `train_threads` are those of its trainings where the settings leave them open (None:
    this process's part of the cores). `fastest` chooses between forms of the file (None: a race on this machine).
    Raises a `KdbenchError` for everything that a user can mend; then no row is written.
    """
    config = identity.identified(config)  # before code is imported that somebody may edit meanwhile
    kept_too = mirror(config.outputs, config.remote)  # before anything is trained that it would refuse
    network, file_steps = split_steps(config.network)
    machine = runtime.resolve(config.device, config.precision, config.threads)
    if train_threads is not None and config.threads is None:
        machine = replace(machine, threads=train_threads)
    machine.prepare()  # before anything is computed: how many threads sum decides bits
    asked = config.data.name
    data, splits = load_for(network, config.data, config.fallback)
    config = resolved(replace(config, data=data), splits, machine, seeds)
    network = config.network.with_steps(len(network.steps))
    with RunFolder.of(config, kept_too) as folder, processes.at_work(config.outputs, identity.release()) as count:
        done = None if config.again or config.retrain else folder.finished(versions())
        if done is not None:
            return Result(done, folder.path, config, was_done=True)
        folder.begin()
        log.info("%s, fingerprint %s; %s", data.name, data.fingerprint, machine)
        if data.name != asked:
            log.info("%s was asked for and could not be had", asked)
        if steps := file_steps_before(network):
            log.warning("weights=%s: taken as they were before %s, which changed the file alone", *steps)
        store = Store(config.outputs / "store", remake=config.retrain, mirror=kept_too)
        sharing = count if train_threads is None else None
        maker = Maker(splits, machine, store, config.checkpoint_seconds, config.together, sharing)
        initial = maker.initial(network).network  # finds impossible sizes
        require_possible(maker, network)
        started(folder.path)
        doing("training")
        if config.together:
            train_ahead(maker, network)
        networks = compared(maker, network, is_compared(config.network))
        doing("exporting")
        task = task_of_files(splits, network.seed, initial, store, fastest)
        artifacts = ship(networks, file_steps, task, store)
        doing("measuring")
        figures = figures_of(config, machine, splits, networks, artifacts)
        doing("timing")
        figures |= times(splits, machine, artifacts)
        row = row_of(config, figures, environment(), networks.shipped.together)
        changed = [type(step).__name__ for step in file_steps]
        weights = written(networks.shipped.network, changed, splits.class_names, networks.shipped.shaped_by)
        folder.write(row, artifacts.shipped, weights, networks.shipped.history)
    return Result(row, folder.path, config)


def task_of_files(
    splits: Splits, seed: int, initial: nn.Module, store: Store, fastest: Fastest | None = None
) -> Task:
    """Return what steps that change files may use; `fastest` as in `run`."""
    examples = Examples(splits.train, splits.val, splits.class_names)
    fastest = fastest or FastestHere(pixels(splits.train.images[:THROUGHPUT_BATCH]), store)
    return Task(examples, (), no_fit, seed, initial, fastest=fastest)


def resolved(config: Config, splits: Splits, machine: Runtime, seeds: Sequence[int]) -> Config:
    """Return `config` with what `auto` came to, and what the data are.

    Raises `BadSetting` for a transfer set that holds images which are kept for validation or the test.
    """

    def found(transfer: DataSpec) -> DataSpec:
        used, learnt = load(transfer, source=splits.without_test)
        require_apart(transfer.name, learnt.train, splits)
        return used

    config = replace(
        config,
        network=config.network.with_transfers(found),
        device=machine.device,
        precision=machine.precision,
        instructions=machine.instructions,
        # The names of the classes stand in the file that ships.
        images=f"{'x'.join(map(str, splits.shape))} in {splits.classes} classes, {digest(splits.class_names)[:8]}",
    )
    several = len(set(seeds)) > 1 and config.trains_seeds_together
    return replace(config, together=tuple(sorted(set(seeds))) if several else ())


def figures_of(
    config: Config, machine: Runtime, splits: Splits, networks: Compared, artifacts: Artifacts
) -> dict[str, Any]:
    """Return what was measured. Raises `Collapsed`, with the name of the run, if the file gives one class only."""
    try:
        under = [getattr(method_of(step), "trains_under", None) for step in config.network.steps]
        eps = config.robust_eps or next(filter(None, reversed(under)), None)
        return measure(splits, machine, networks, artifacts, is_compared(config.network), eps)
    except Collapsed as error:
        name = f"{config.network.name} {config.compress} seed {config.network.seed}"
        raise Collapsed(f"{name}: {error} ({config.settings or 'nothing'})") from error
