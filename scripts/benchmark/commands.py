"""Whole commands, as a user types them, each in a process of its own."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from benchmark.ordinary import tutorial
from kdbench.data.splits import Split
from kdbench.results.row import Row, write
from kdbench.storage.store import RECORD


@dataclass(frozen=True)
class Ended:
    """A command that succeeded: when it started, how long it took, and its peak memory."""

    started: float  # seconds since 1970
    seconds: float
    peak_gb: float


# Run by a small process, for a child counts the memory of the one that started it, until it becomes itself.
LAUNCHER = """
import json, resource, subprocess, sys, time
started, began = time.time(), time.perf_counter()
status = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
seconds = time.perf_counter() - began
print(json.dumps([started, seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))
sys.exit(status)
"""


def command(*arguments: str) -> Ended:
    """Run `kdbench` with `arguments`, quietly. Raises `RuntimeError` with what it printed if it fails."""
    launched = [sys.executable, "-c", LAUNCHER, sys.executable, "-m", "kdbench", *arguments]
    ended = subprocess.run(launched, capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(f"kdbench {' '.join(arguments)} failed: {ended.stderr.strip()}")
    started, seconds, peak = json.loads(ended.stdout)
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes there, kilobytes elsewhere
    return Ended(started, seconds, peak * unit / 1e9)


def rows(outputs: Path) -> list[dict[str, str]]:
    """Return the rows that commands wrote to `outputs`."""
    return [next(csv.DictReader(path.open())) for path in sorted(outputs.glob("runs/*/*/metrics.csv"))]


def records(outputs: Path) -> list[tuple[float, dict[str, Any]]]:
    """Return when each entry of the store was finished, in seconds since 1970, and its record."""
    return [(path.stat().st_mtime, json.loads(path.read_text())) for path in outputs.glob(f"store/*/{RECORD}")]


def speedrun(outputs: Path, data: Sequence[str], seeds: int) -> tuple[list[float], list[float]]:
    """Return the seconds from process start to trained weights, and the test accuracy, of each seed."""
    seconds, accuracies = [], []
    for seed in range(seeds):
        folder = outputs / f"speedrun-{seed}"
        run = command("run", "+experiment=speedrun", f"seed={seed}", f"outputs={folder}", *data)
        trained = [finished for finished, record in records(folder) if "history" in record]
        seconds.append(max(trained) - run.started)
        accuracies += [float(row["accuracy"]) for row in rows(folder)]
    return seconds, accuracies


def tutorial_to(target: float, train: Split, test: Split, seed: int) -> tuple[float, int]:
    """Return the seconds and epochs of the tutorial's loop to `target` test accuracy, its tests not counted."""
    began = time.perf_counter()
    for epoch, reached in enumerate(tutorial(train, test, seed), start=1):
        if reached >= target:
            return time.perf_counter() - began, epoch
    raise RuntimeError(f"the ordinary loop did not reach {target:.1%}")


def sweep(outputs: Path, data: Sequence[str]) -> dict[str, float]:
    """Run all 36 variants from nothing: wall time against the sum of its distinct trainings."""
    ended = command("sweep", f"outputs={outputs}", *data)
    entries = [record for _, record in records(outputs)]
    trained = [record for record in entries if "history" in record]
    spent = sum(record["seconds"] - record["cached_seconds"] for record in trained)
    done = Counter(line for path in outputs.glob("runs/*/*/run.log") for line in trainings(path))
    return {
        "runs": len(rows(outputs)),
        "wall_s": ended.seconds,
        "trainings": len(trained),
        "trained_s": spent,
        "ratio": ended.seconds / spent,
        "trained_twice": sum(count - 1 for count in done.values()),
    }


def trainings(log: Path) -> list[str]:
    """Return the store keys of the trainings that a run did itself, from its log."""
    return [line.rsplit(" ", 1)[-1] for line in log.read_text().splitlines() if " kept as " in line]


def overhead(outputs: Path, data: Sequence[str], models: Sequence[str]) -> dict[str, float]:
    """Return, for each model, the mean seconds of a compressed variant whose trainings lie in the store.

    Three treatments and the baseline in one process, less the baseline in one: process start, data and the
    baseline itself are not counted. The first pass puts everything into the store; it does nothing if a sweep with
    the same settings wrote to `outputs` before.
    """
    found = {}
    for model in models:
        settings = [f"model={model}", f"outputs={outputs}", *data]
        every = ("run", "-m", "compress=baseline,quantize,prune,distill", *settings)
        command(*every)
        alone = command("run", "-m", "compress=baseline", "again=true", *settings)
        found[model] = (command(*every, "again=true").seconds - alone.seconds) / 3
    return found


def startup(repetitions: int) -> dict[str, float]:
    """Return the median seconds of commands that import no torch."""
    typed = {"kdbench --help": ("--help",), "kdbench run --cfg job": ("run", "--cfg", "job")}
    return {
        name: median(command(*arguments).seconds for _ in range(repetitions)) for name, arguments in typed.items()
    }


def plot(outputs: Path, examples: Sequence[Row], counts: Sequence[int]) -> dict[int, float]:
    """Return the seconds of `kdbench plot` over so many rows, the `examples` again and again under other seeds."""
    found = {}
    for count in counts:
        folder = outputs / f"plot-{count}"
        for number in range(count):
            row = examples[number % len(examples)]
            seed = number // len(examples)
            place = folder / f"{row.model}-{row.compress}-{seed}"
            place.mkdir(parents=True)
            write(replace(row, seed=seed, teacher_seed=seed if row.teacher else None), place)
        found[count] = command("plot", str(folder)).seconds
    return found


def memory(outputs: Path, data: Sequence[str], model: str) -> float:
    """Return the peak memory in GB of a run that trains `model`, one epoch."""
    return command("run", f"model={model}", "train.epochs=1", f"outputs={outputs}", *data).peak_gb


def summary(values: Sequence[float]) -> str:
    """Return mean and standard deviation."""
    return f"{mean(values):.4f} ± {stdev(values) if len(values) > 1 else 0:.4f} ({len(values)} seeds)"
