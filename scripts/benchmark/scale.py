"""What a folder of results costs as it grows: bytes, files, and the seconds of commands.

Runs are made by kdbench as long as there are few. Beyond that, those of seed 0 are written again under other seeds,
by what writes every run: rows, files and records are what they would be, the figures in them those of seed 0.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import onnx

from benchmark.commands import command
from kdbench.artifact.file import Artifact
from kdbench.results.ledger import Ledger
from kdbench.results.run_folder import ARTIFACT, RunFolder, read_whole
from kdbench.settings.earlier_run import WEIGHTS, load_config

METHODS = ("baseline", "quantize", "quantize_static", "prune")
SETTINGS = ("data=mnist_5k", "model=mlp_simple", "model.widths=[16]", "train.epochs=1", "threads=1")
MADE = 100  # runs that are made, at most
FRESH = range(1_000_000, 1_000_003)  # seeds of the runs that are made to be timed
SEED = re.compile(r"-seed(\d+)-")
AGAIN = range(25)  # seeds of the runs that are asked for once more


def sweep(outputs: Path, seeds: range) -> float:
    """Type a sweep of all methods under these seeds, and return the seconds that it takes."""
    typed = ["sweep", *SETTINGS, f"compress={','.join(METHODS)}", f"seed=range({seeds.start},{seeds.stop})"]
    return command(*typed, f"outputs={outputs}").seconds


def fill(outputs: Path, seeds: Sequence[int]) -> None:
    """Write the runs of seed 0 under other seeds too, as if one more command had done them."""
    ledger, runs = Ledger(outputs), []
    for folder in sorted(outputs.glob("runs/*/*-seed0-*")):
        config, row = load_config(folder), read_whole(folder)
        artifact = Artifact(onnx.load(folder / ARTIFACT))
        weights = (folder / WEIGHTS).read_bytes()
        for seed in seeds:
            own = replace(config, network=config.network.with_seed(seed), outputs=outputs)
            typed = [*SETTINGS, f"compress={row.compress}", f"seed={seed}"]
            with RunFolder.of(own) as place:
                ledger.started(typed, place.path)
                place.write(replace(row, seed=seed, config_hash=own.hash), artifact, weights, ())
            runs.append(typed)
    ledger.write_command(["sweep", *SETTINGS, f"seed={seeds[0]},...,{seeds[-1]}"], runs)


def weight(folder: Path) -> dict[str, int]:
    """Return how many files and folders there are, their bytes, and those of the blocks that they take on disk."""
    found = [os.lstat(path) for path in folder.rglob("*")]
    files = [one for one in found if not one.st_mode & 0o40000]
    return {
        "files": len(files),
        "folders": len(found) - len(files),
        "bytes": sum(one.st_size for one in files),
        "on_disk": sum(512 * one.st_blocks for one in found),
    }


def measure(outputs: Path, runs: int, charts: Path) -> dict[str, float]:
    """Return what `outputs` weighs, and what commands take, with so many runs in it."""
    seeds = range(runs // len(METHODS))
    made = min(len(seeds), MADE // len(METHODS))
    sweep(outputs, range(made))
    found = {int(SEED.findall(path.parent.name)[0]) for path in outputs.glob("runs/*/*/metrics.csv")}
    if missing := [seed for seed in seeds[made:] if seed not in found]:
        fill(outputs, missing)
    there = len(METHODS) * len(found.union(missing))
    weights = {name: weight(outputs / name) for name in ("runs", "store", "ledger", "locks", "sweeps")}
    again = [sweep(outputs, range(count)) for count in (1, min(len(seeds), len(AGAIN)))]
    repeated = len(METHODS) * (min(len(seeds), len(AGAIN)) - 1)
    fresh = sweep(outputs, range(FRESH.start + runs, FRESH.stop + runs)) - again[0]
    return {
        "runs": there,
        **{f"{name}_{what}": count for name, one in weights.items() for what, count in one.items()},
        "new_s_a_run": fresh / (len(METHODS) * len(FRESH)),
        "done_s_a_run": (again[1] - again[0]) / repeated,
        "status_s": command("status", str(outputs)).seconds,
        "table_s": command("table", str(outputs)).seconds,
        "plot_s": command("plot", str(outputs), "--to", str(charts)).seconds,
    }


def main() -> int:
    """Measure at each number of runs, and print what was found."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark/scale", description=__doc__)
    parser.add_argument("--runs", type=int, nargs="+", default=[12, 100, 1_000, 10_000], metavar="N")
    parser.add_argument("--outputs", type=Path, metavar="FOLDER", help="keep the results (else: deleted)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kdbench-scale-") as temporary:
        outputs = (asked.outputs or Path(temporary) / "outputs").absolute()
        for runs in sorted(asked.runs):
            print(json.dumps(measure(outputs, runs, Path(temporary) / "plots"), indent=1), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
