"""Kills the workers of a sweep, and now and then the command itself, and counts what is lost or trained twice.

`scripts/faults --kills 1000 --on ray` is the long run.
"""

from __future__ import annotations

import json
import os
import random
import re
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.faults.cluster import Cluster, Queue, Workers, until
from tests.faults.harness import Figures, contents, judge, look
from tests.faults.machines import Machines

# 24 short runs: a teacher for each seed, and students that two runs share; on data that come with a package.
SWEEP = [
    *(sys.executable, "-m", "kdbench", "sweep"),
    *("data=mnist_5k", "model=mlp_simple", "model.widths=[8],[12]", "seed=0,1,2", "checkpoint_seconds=0"),
    *("compress=distill,distill_quantize,mixup,decoupled", "compress.teacher=mlp_simple", "threads=1"),
    *(f"{recipe}.{knob}" for recipe in ("train", "teacher_train") for knob in ("epochs=20", "batch_size=50")),
]
RUNS = 24
OFTEN = "hydra.sweeper.tries=1000"  # a run may lose its worker
COMMAND_SHARE = 0.05  # of the kills: the command that was typed
PAUSE_SECONDS = (0.2, 8.0)  # between two kills
TRAINED = re.compile(r"trained in .* s, kept as (\w+)")


@dataclass
class Launched(Figures):
    """What a campaign found, beside `Figures`."""

    trained_twice: int = 0
    commands_killed: int = 0

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, and nothing done twice."""
        return super().clean and not self.trained_twice


def trained(outputs: Path) -> Counter[str]:
    """Count how often each training came to its end."""
    return Counter(key for path in outputs.glob("runs/*/*/run.log") for key in TRAINED.findall(path.read_text()))


def workers(on: str, place: Path, drawn: random.Random) -> Workers:
    """Return the workers of a launcher, which the caller closes."""
    if on == "machines":
        return Machines(on, place, drawn, RUNS)
    return {"ray": Cluster, "submitit": Queue, "joblib": Workers}[on](on, place, drawn)


def campaign(place: Path, on: str, kills: int, seed: int) -> Launched:
    """Kill so many times, over as many sweeps as that takes, and compare each with one that nobody killed."""
    expected = place / "expected"
    crew, found = workers(on, place, random.Random(seed)), Launched()
    log = place / "expected.log"
    try:
        assert Workers.start(crew, expected, SWEEP, log).wait() == 0, log.read_text()
        assert len(contents(expected)) == RUNS
        while found.kills < kills:
            one_sweep(place, expected, crew, kills, found)
            print(json.dumps(asdict(found)), file=sys.stderr)
    finally:
        crew.close()
    return found


def one_sweep(place: Path, expected: Path, crew: Workers, kills: int, found: Launched) -> None:
    """Let one sweep come to its end, whatever is killed."""
    outputs, log = place / f"outputs-{found.completed}", place / f"sweep-{found.completed}.log"
    process = crew.start(outputs, [*SWEEP, OFTEN, *crew.typed], log)
    began, known = time.monotonic(), {}
    while until(crew.drawn.uniform(*PAUSE_SECONDS), process):
        assert time.monotonic() - began < 3600, log.read_text()
        if found.kills >= kills:
            continue
        if crew.drawn.random() < COMMAND_SHARE:
            os.killpg(process.pid, 9)
            process.wait()
            found.kills, found.commands_killed = found.kills + 1, found.commands_killed + 1
            process = crew.start(outputs, [*SWEEP, OFTEN, *crew.typed], log)
        elif crew.kill_one():
            found.kills += 1
        look(outputs, known, found)
    look(outputs, known, found)
    status = crew.end() or process.returncode
    judge(outputs, expected, status, log.read_text(), found)
    found.trained_twice += sum(count - 1 for count in trained(outputs).values())
