"""How long a sweep takes on many workers, in the order in which kdbench hands out its runs: a simulation.

Durations are those that the rows of a study recorded; the order rests on what kdbench expects before anything is run.
A worker that needs what another trains waits for it.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kdbench.cli.order import finish, in_order
from kdbench.networks.cost import Training, trainings
from kdbench.results.collect import by_folder
from kdbench.settings.config import Config
from kdbench.settings.typed import config_of

OVERHEAD_SECONDS = 5.0  # of a run beside its trainings: loading, exporting, measuring


@dataclass(frozen=True)
class Study:
    """The rows of a study with their configurations, and what each training took."""

    configs: list[Config]
    recorded: dict[str, float]

    def runs(self, seeds: int) -> list[list[Training]]:
        """Return, for each variant under each seed, its trainings as they are expected to take."""
        return [
            trainings(config.network.with_seed(config.network.seed + seed))
            for seed in range(seeds)
            for config in self.configs
        ]

    def really(self, runs: Sequence[Sequence[Training]], noise: float, seed: int) -> list[list[Training]]:
        """Return the same with recorded durations, each times a number about 1, and the overhead of each run."""
        drawn = random.Random(seed)
        factors: dict[str, float] = {}
        found = []
        for number, run in enumerate(runs):
            variant = trainings(self.configs[number % len(self.configs)].network)
            real = []
            for one, at_first in zip(run, variant, strict=True):
                factor = factors.setdefault(one.key, drawn.lognormvariate(0, noise))
                real.append(Training(one.key, self.recorded[at_first.key] * factor))
            found.append([*real, Training(f"overhead {number}", OVERHEAD_SECONDS)])
        return found


def read(folder: Path) -> Study:
    """Return the study in a folder of rows, which say how long the trainings of each took in all.

    Of a network trained alone there are several records, as a baseline and as a teacher: the least counts, since
    other work ran beside the others.
    """
    rows = sorted(by_folder(folder)[0].values(), key=lambda row: row.compress != "baseline")
    configs = [config_of({"model": row.model, "compress": row.compress}) for row in rows]
    alone: dict[str, float] = {}
    for row in rows:
        if row.compress == "baseline":
            alone[row.model] = min(row.train_seconds, alone.get(row.model, math.inf))
        if row.teacher is not None and row.teacher_train_seconds is not None:
            alone[row.teacher] = min(row.teacher_train_seconds, alone.get(row.teacher, math.inf))
    baselines = {row.model: row.train_seconds for row in rows if row.compress == "baseline"}
    recorded: dict[str, float] = {}
    for row, config in zip(rows, configs, strict=True):
        for network in (config.network.uncompressed, *config.teachers):
            recorded[trainings(network)[0].key] = alone[network.name]
        own = row.train_seconds - (baselines[row.model] if row.compress == "prune" else 0.0)
        recorded.setdefault(trainings(config.network)[-1].key, own)
    return Study(configs, recorded)


def makespan(runs: Sequence[Sequence[Training]], order: Sequence[int], workers: int) -> float:
    """Return when the last of `workers` is done, each of which takes the next run as soon as it is free."""
    free, ends = [0.0] * workers, {}
    for run in order:
        now = min(free)
        free[free.index(now)] = finish(runs[run], now, ends)
    return max(free)


def bound(runs: Sequence[Sequence[Training]], workers: int) -> float:
    """Return what no order can be faster than: all work shared evenly, or the longest run."""
    each = {one.key: one.seconds for run in runs for one in run}
    return max(sum(each.values()) / workers, max(sum(one.seconds for one in run) for run in runs))


def main() -> int:
    """Print how many times the bound each order takes."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark/order", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("docs/study"))
    parser.add_argument("--seeds", type=int, default=28)
    parser.add_argument("--workers", type=int, nargs="+", default=[64])
    parser.add_argument("--noise", type=float, default=0.2, help="standard deviation of the logarithm of durations")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    study = read(options.folder)
    expected = study.runs(options.seeds)
    print(f"{len(expected)} runs, noise {options.noise:g}, {options.repeats} repeats: times the lower bound")
    for workers in options.workers:
        orders = {"kdbench": in_order(expected, workers), "as typed": list(range(len(expected)))}
        orders["longest first"] = sorted(orders["as typed"], key=lambda run: -sum(o.seconds for o in expected[run]))
        for name, order in orders.items():
            ratios = []
            for seed in range(options.repeats):
                real = study.really(expected, options.noise, seed)
                ratios.append(makespan(real, order, workers) / bound(real, workers))
            spread = f"({min(ratios):.3f} to {max(ratios):.3f})"
            print(f"{workers:5} workers  {name:14} {statistics.mean(ratios):.3f}x  {spread}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
