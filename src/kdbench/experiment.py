"""One run, from configuration to row: the story of kdbench."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kdbench.artifact.file import Artifacts
from kdbench.artifact.ship import ship
from kdbench.compress.order import split_steps
from kdbench.compress.step import Examples, Task, no_fit
from kdbench.data.load import load
from kdbench.data.splits import Splits
from kdbench.errors import Collapsed
from kdbench.evaluation.environment import environment, versions
from kdbench.evaluation.measure import measure
from kdbench.models.weights_file import written
from kdbench.networks import Compared, Maker, train_ahead
from kdbench.results.describe import row_of
from kdbench.results.row import Row
from kdbench.results.run_folder import RunFolder
from kdbench.settings import identity
from kdbench.settings.config import Config
from kdbench.storage.store import Store
from kdbench.training import runtime
from kdbench.training.runtime import Runtime

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
    config = identity.identified(config)  # before code is imported that somebody may edit meanwhile
    network, file_steps = split_steps(config.network)
    machine = runtime.resolve(config.device, config.precision, config.threads)
    machine.prepare()  # before anything is computed: how many threads sum decides bits
    asked = config.data.name
    data, splits = load(config.data, config.fallback)
    config = resolved(replace(config, data=data), splits, machine, seeds)
    network = config.network.with_steps(len(network.steps))
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
        initial = maker.initial(network).network  # finds impossible sizes
        started(folder.path)
        if config.together:
            train_ahead(maker, network)
        networks = maker.compared(network)
        examples = Examples(splits.train, splits.val, splits.class_names)
        artifacts = ship(networks, file_steps, Task(examples, (), no_fit, network.seed, initial), store)
        figures = figures_of(config, machine, splits, networks, artifacts)
        row = row_of(config, figures, environment(), networks.shipped.together)
        weights = written(networks.shipped.network, [type(step).__name__ for step in file_steps])
        folder.write(row, artifacts.shipped.content, weights, networks.shipped.history)
    return Result(row, folder.path)


def resolved(config: Config, splits: Splits, machine: Runtime, seeds: Sequence[int]) -> Config:
    """Return `config` with what `auto` came to, and what the data are."""
    config = replace(
        config,
        network=config.network.with_transfers(lambda transfer: load(transfer)[0]),
        device=machine.device,
        precision=machine.precision,
        threads=machine.threads,
        instructions=machine.instructions,
        images=f"{'x'.join(map(str, splits.shape))} in {splits.classes} classes",
    )
    several = len(set(seeds)) > 1 and config.trains_seeds_together
    return replace(config, together=tuple(sorted(set(seeds))) if several else ())


def figures_of(
    config: Config, machine: Runtime, splits: Splits, networks: Compared, artifacts: Artifacts
) -> dict[str, Any]:
    """Return what was measured. Raises `Collapsed`, with the name of the run, if the file gives one class only."""
    try:
        return measure(splits, machine, networks, artifacts, compressed=bool(config.network.steps))
    except Collapsed as error:
        name = f"{config.network.name} {config.compress} seed {config.network.seed}"
        raise Collapsed(f"{name}: {error} ({config.settings or 'nothing'})") from error
