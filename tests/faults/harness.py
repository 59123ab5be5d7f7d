"""Kills the real command at random moments, again and again, and looks whether anything was lost.

`python -m tests.faults.harness --kills 300` is the long run (scripts/faults); with `--on` a launcher, that of a sweep
whose workers are killed (`tests.faults.launched`).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.faults.processes import Fork, Start, serve
from tests.faults.shim import KILLED

from kdbench.results.row import FILE, read
from kdbench.results.run_folder import ARTIFACT
from kdbench.results.summary import TIMINGS
from kdbench.storage import durable
from kdbench.storage.checksums import checksum

# Network and file steps, and a teacher that both students share, on data that come with a package; small networks.
COMMAND = [
    *("run", "-m", "data=mnist_5k", "model=mlp_simple", "model.widths=[8],[12]"),
    *("compress=distill_quantize", "compress.teacher=mlp_simple", "checkpoint_seconds=0", "threads=1"),
    *(f"{recipe}.{knob}" for recipe in ("train", "teacher_train") for knob in ("epochs=3", "batch_size=500")),
]
RUNS = 2
EVERY_STEP = float("inf")  # of the time of a training may go into checkpoints
BEGINNING, FURTHER = 60, 250  # calls that change a disk: about what comes before a training, and much further on
UNSTEADY = {*TIMINGS, "date"}


def contents(outputs: Path) -> dict[str, tuple[dict[str, str], bytes]]:
    """Return, for each finished run, its row without what time decides, and its artifact."""
    found = {}
    for path in sorted(outputs.glob(f"runs/*/*/{FILE}")):
        with path.open(newline="") as file:
            [line] = csv.DictReader(file)
        steady = {name: value for name, value in line.items() if name not in UNSTEADY}
        found[path.parent.name] = (steady, (path.parent / ARTIFACT).read_bytes())
    return found


def weights(outputs: Path) -> dict[str, bytes]:
    """Return the tensors of every training in the store."""
    entries = [
        path.parent for path in outputs.glob("store/*/record.json") if "history" in json.loads(path.read_text())
    ]
    return {entry.name: (entry / "tensors.safetensors").read_bytes() for entry in entries}


def drafts(outputs: Path) -> list[str]:
    """Return the unfinished files and folders that lie about."""
    return [str(path.relative_to(outputs)) for path in outputs.rglob(f"{durable.DRAFT}*")]


@dataclass
class Figures:
    """What a campaign of kills found; everything but `kills` and `completed` should be zero or empty."""

    kills: int = 0
    completed: int = 0
    resumed: int = 0  # trainings that went on from a checkpoint
    rows_lost: int = 0
    rows_changed: int = 0
    rows_wrong: int = 0
    weights_wrong: int = 0
    half_files: int = 0
    complaints: list[str] = field(default_factory=list)

    def __add__(self, other: Figures) -> Figures:
        mine, theirs = asdict(self), asdict(other)
        return Figures(**{name: mine[name] + theirs[name] for name in mine})

    @property
    def clean(self) -> bool:
        """Whether nothing was lost."""
        counts = (self.rows_lost, self.rows_changed, self.rows_wrong, self.weights_wrong, self.half_files)
        return not any(counts) and not self.complaints


def look(outputs: Path, known: dict[Path, bytes], found: Figures) -> None:
    """After a kill or an end: what was finished, which is `known`, is there, as it was, and readable."""
    for path, content in known.items():
        if not path.exists():
            found.rows_lost += 1
        elif path.read_bytes() != content:
            found.rows_changed += 1
    for path in outputs.glob(f"runs/*/*/{FILE}"):
        row = read(path)  # raises if it is not whole
        if checksum((path.parent / ARTIFACT).read_bytes()) != row.artifact_sha256:
            found.complaints.append(f"{path}: beside another artifact")
        if row.timed:  # else the next command measures it again
            known[path] = path.read_bytes()


def judge(outputs: Path, expected: Path, status: int | None, printed: str, found: Figures) -> None:
    """Count what a command that came to its end left otherwise than one that nobody killed."""
    if status or "Traceback" in printed:
        found.complaints.append(f"exit {status}: {printed[-3000:]}")
    logs = [path.read_text() for path in outputs.glob("runs/*/*/run.log")]
    found.resumed += sum(log.count("goes on from its checkpoint") for log in logs)
    known, made = contents(expected), contents(outputs)
    found.rows_lost += len(known.keys() - made.keys())
    found.rows_wrong += sum(made[name] != known.get(name) for name in made)
    right, own = weights(expected), weights(outputs)
    found.weights_wrong += sum(right[key] != own.get(key) for key in right)
    left = drafts(outputs) + [str(path) for path in outputs.glob("store/checkpoints/*")]
    found.half_files += len(left)
    found.complaints += [f"left behind: {name}" for name in left]
    found.completed += 1


class Campaign:
    """Kills of one command in one folder: its result is compared with that of a command that nobody killed.

    A share `at_calls` of the kills comes before a chosen call that changes a disk, wherever in the command that is;
    the others come after a random time.
    """

    def __init__(self, place: Path, expected: Path, seconds: float, seed: int, at_calls: float) -> None:
        self.place = place
        self.expected = expected
        self.seconds = seconds
        self.at_calls = at_calls
        began = time.monotonic()
        assert Fork(expected, *COMMAND, f"outputs={expected}").wait() == 0
        self.startup = time.monotonic() - began  # what a command costs where all is done
        self.random = random.Random(seed)
        self.figures = Figures()
        self.begin_anew()

    def begin_anew(self) -> None:
        """Take an empty folder."""
        self.outputs = self.place / f"outputs-{self.figures.completed}"
        self.known: dict[Path, bytes] = {}

    def kill(self, times: int) -> Figures:
        """Kill so many times."""
        while self.figures.kills < times:
            command = [*COMMAND, f"outputs={self.outputs}"]
            if self.random.random() < self.at_calls:
                calls = self.random.randrange(self.random.choice([BEGINNING, FURTHER]))
                process: Start | Fork = Fork(self.outputs, *command, calls=calls, share=EVERY_STEP)
                status = process.wait()
                killed = status == KILLED
            else:
                # Now and then one that still imports.
                anew = self.random.random() < 0.1
                process = Start(self.outputs, *command) if anew else Fork(self.outputs, *command, share=EVERY_STEP)
                # Mostly soon, for many kills; now and then late, so that what comes last is reached too.
                status = process.wait(self.startup + (self.seconds - self.startup) * self.random.random() ** 4)
                killed = status is None
            if killed:
                process.kill()
                self.figures.kills += 1
                self.look()
            else:
                self.ended(status, process.err)
        self.finish()
        return self.figures

    def look(self) -> None:
        """After a kill: what was finished is there."""
        look(self.outputs, self.known, self.figures)

    def ended(self, status: int | None, err: str) -> None:
        """The command came to its end: all is as if nobody had killed it."""
        self.look()
        judge(self.outputs, self.expected, status, err, self.figures)
        self.begin_anew()

    def finish(self) -> None:
        """Let the last command come to its end."""
        process = Fork(self.outputs, *COMMAND, f"outputs={self.outputs}")
        self.ended(process.wait(), process.err)


def undisturbed(place: Path) -> tuple[Path, float]:
    """Return the outputs of a command that nobody kills, and the seconds it takes."""
    serve()
    Fork(place / "outputs", "ls").wait()  # from here on, a fork costs no imports
    expected = place / "expected"
    began = time.monotonic()
    whole = Fork(expected, *COMMAND, f"outputs={expected}")
    assert whole.wait() == 0, whole.err
    assert len(contents(expected)) == RUNS
    return expected, time.monotonic() - began


def campaigns(place: Path, kills: int, seed: int, side_by_side: int = 2, at_calls: float = 0.5) -> Figures:
    """Kill so many times, in a few campaigns side by side, and return what all found."""
    expected, seconds = undisturbed(place)
    folders = [place / f"campaign-{number}" for number in range(side_by_side)]

    def campaign(number: int) -> Figures:
        folders[number].mkdir()
        share = kills // side_by_side + (number < kills % side_by_side)
        return Campaign(folders[number], expected, seconds, seed + number, at_calls).kill(share)

    with ThreadPoolExecutor(side_by_side) as pool:
        return sum(pool.map(campaign, range(side_by_side)), Figures())


def main() -> int:
    """The long run."""
    parser = argparse.ArgumentParser(prog="scripts/faults", description="Kill kdbench, and count what is lost.")
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--on",
        choices=["ray", "joblib", "submitit", "machines"],
        help="kill the workers of this launcher, or one of two machines",
    )
    options = parser.parse_args()
    # Killed processes leave semaphores of multiprocessing's to be tidied up, which it would tell at the end.
    os.environ["PYTHONWARNINGS"] = "ignore::UserWarning:multiprocessing.resource_tracker"
    with tempfile.TemporaryDirectory() as place:
        began = time.monotonic()
        if options.on:
            from tests.faults.launched import campaign

            figures = campaign(Path(place), options.on, options.kills, options.seed)
        else:
            figures = campaigns(Path(place), options.kills, options.seed)
    print(json.dumps(asdict(figures) | {"minutes": round((time.monotonic() - began) / 60, 1)}, indent=1))
    return 0 if figures.clean else 1


if __name__ == "__main__":
    raise SystemExit(main())
