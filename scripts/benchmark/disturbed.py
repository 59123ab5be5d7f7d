"""`scripts/benchmark/disturbed`: the same sweep alone, and beside a process that keeps every core busy."""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmark import commands
from kdbench.training.runtime import cores

Found = dict[str, tuple[str, str]]
"""`speedup` and `cpu_share` of each variant, as its row has them; empty: ""."""

SWEEP = ["model=mlp_simple,cnn_simple", "compress=baseline,quantize,prune", "data=mnist_5k", "train.epochs=1"]
ALLOWED = 0.10  # by which speedup may differ from the median of the sweeps alone
BURN = "while True: pass"


def main() -> int:
    """Run the sweeps, print the ratios of each variant, and return 1 if one is off by more than `ALLOWED`."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark/disturbed", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, metavar="N", help="sweeps alone, and as many beside it")
    parser.add_argument("settings", nargs="*", metavar="SETTING=VALUE", help=f"in the place of {' '.join(SWEEP)}")
    asked = parser.parse_args()
    alone: list[Found] = []
    beside: list[Found] = []
    with tempfile.TemporaryDirectory(prefix="kdbench-disturbed-") as folder:
        sweep = ["sweep", *(asked.settings or SWEEP), f"outputs={folder}"]
        commands.command(*sweep)  # trains; what follows is taken from the store
        for number in range(asked.rounds):
            alone.append(measured(sweep, Path(folder)))
            with every_core_busy():
                beside.append(measured(sweep, Path(folder)))
            print(f"round {number + 1}: {report(alone[-1], beside[-1])}", flush=True)
    held = [judge(name, alone, beside) for name in alone[0]]
    return 0 if all(held) else 1


def measured(sweep: list[str], outputs: Path) -> Found:
    """Measure every run once more."""
    commands.command(*sweep, "again=true")
    return {f"{row['model']} {row['compress']}": (row["speedup"], row["cpu_share"]) for row in commands.rows(outputs)}


@contextlib.contextmanager
def every_core_busy() -> Iterator[None]:
    """A context in which as many processes as there are cores do nothing but run."""
    burning = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(cores())]
    try:
        yield
    finally:
        for process in burning:
            process.kill()
            process.wait()


def report(alone: Found, beside: Found) -> str:
    """Return, of each variant, the speedup alone and beside, with the share of the CPU that it had."""

    def words(found: tuple[str, str]) -> str:
        return f"{float(found[0]):.3f}" if found[0] else f"empty (share {float(found[1]):.2f})"

    return "; ".join(f"{name} {words(alone[name])} / {words(beside[name])}" for name in alone)


def judge(name: str, alone: list[Found], beside: list[Found]) -> bool:
    """Print how far the speedups of a variant are apart; whether all that are there are near enough."""
    there = [[float(found[name][0]) for found in each if found[name][0]] for each in (alone, beside)]
    counted = f"alone {len(there[0])} of {len(alone)} timed, beside {len(there[1])} of {len(beside)}"
    if not there[0]:
        print(f"{name}: {counted}")
        return False
    middle = median(there[0])
    apart = max(abs(value / middle - 1) for value in there[0] + there[1])
    print(f"{name}: {counted}; speedup {middle:.3f}, at most {apart:.1%} off")
    return apart <= ALLOWED


if __name__ == "__main__":
    sys.exit(main())
