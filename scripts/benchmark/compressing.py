"""Methods that change a network while it trains: the first epoch, against that of plain training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn

from benchmark.race import Race, race
from benchmark.training import Track, timed
from kdbench.compress.step import Examples, NetworkStep, Task
from kdbench.settings import targets
from kdbench.settings.choices import config_dir
from kdbench.settings.plain_yaml import load_plain
from kdbench.training.constraints import Constraint
from kdbench.training.criteria import LABELS, Criterion
from kdbench.training.fit import fit
from kdbench.training.learner import Learner

NETWORKS = ("mlp_medium", "cnn_medium", "resnet_simple")
METHODS = ("quantize_aware", "prune_gradual")  # each with the knobs of its YAML


def races(track: Track) -> list[Callable[[], Race]]:
    """Return the races: the first epoch of the network's own recipe, validation included."""
    return [
        lambda name=name, method=method: compressing(track, f"{method} {name}", name, described(method))
        for method in METHODS
        for name in NETWORKS
    ]


def described(name: str) -> NetworkStep:
    """Return a method as its YAML has it."""
    return targets.instantiate(load_plain((config_dir() / "compress" / f"{name}.yaml").read_text()), "compress")


def compressing(track: Track, title: str, name: str, method: NetworkStep) -> Race:
    """Race a method, with what it does before and after its epoch, against the epoch alone."""
    examples = Examples(track.splits.train, track.splits.val, track.splits.class_names)
    recipe = track.networks[name].recipe

    def train(
        network: nn.Module, criterion: Criterion = LABELS, constraint: Constraint | None = None, **_: Any
    ) -> None:
        held = [constraint] if constraint else []
        fit(
            Learner(network, 0, criterion, held), track.splits.train, track.splits.val, recipe, track.machine, until=1
        )

    def ours() -> float:
        start = track.network(name)
        return timed(lambda: method(start, Task(examples, [], train, 0, start)))

    def plain() -> float:
        network = track.network(name)
        return timed(lambda: train(network))

    found = race(title, ours, plain, track.rounds)
    return replace(found, note=f"{1 / found.ratio:.2f} times as long as plain training")
