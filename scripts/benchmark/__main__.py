"""`scripts/benchmark/run`: kdbench against the ordinary way and against the machine, in one run."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any

import hydra
import torch
from hydra.core.config_store import ConfigStore

from benchmark import ceiling, commands, compressing, folder, methods, training
from benchmark.race import Race, spread
from benchmark.training import Track
from kdbench.data.load import load
from kdbench.data.splits import Split, Splits
from kdbench.errors import KdbenchError
from kdbench.evaluation.environment import processor
from kdbench.results.row import read
from kdbench.settings.choices import EVERYTHING, config_dir, options
from kdbench.settings.compose import resolve
from kdbench.settings.config import Config
from kdbench.settings.knobs import chosen_options
from kdbench.settings.schema import Schema
from kdbench.training import runtime

QUICK_IMAGES = 6_400  # to train on; then nothing is a figure to quote


def main() -> int:
    """Run the rows asked for, print them as they come, and return the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark/run", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything measured to FILE")
    parser.add_argument("--only", metavar="NAME", action="append", choices=list(ROWS), help=", ".join(ROWS))
    parser.add_argument("--outputs", type=Path, metavar="FOLDER", help="keep what the commands write (else: deleted)")
    parser.add_argument("--quick", action="store_true", help="a few images and rounds: does it run, not how fast")
    parser.add_argument("settings", nargs="*", metavar="SETTING=VALUE", help="as for kdbench run: data.root=FOLDER")
    asked = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory(prefix="kdbench-benchmark-") as temporary:
        try:
            bench = Bench.set_up(asked.settings, asked.quick, (asked.outputs or Path(temporary)).absolute())
        except KdbenchError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        measure(bench, asked.only or list(ROWS), asked.json)
    return 0


def measure(bench: Bench, names: Sequence[str], report: Path | None) -> None:
    """Measure the rows of these names, and write what was found to `report` after each."""
    print("\n".join(f"{name}: {value}" for name, value in bench.machine.items()), flush=True)
    for name in names:
        print(f"\n{name}", flush=True)
        bench.found[name] = ROWS[name](bench)
        if report:
            report.write_text(json.dumps({"machine": bench.machine, "rows": bench.found}, indent=1) + "\n")


class Bench:
    """One run of the benchmark: what it runs on, and what it has found."""

    def __init__(
        self, configs: dict[str, Config], splits: Splits, settings: list[str], quick: bool, folder: Path
    ) -> None:
        first = next(iter(configs.values()))
        self.resolved = runtime.resolve(first.device, first.precision, first.threads)
        self.resolved.prepare()
        self.quick = quick
        self.splits = splits
        # The commands must use what is used here, and not what `auto` comes to for them.
        fixed = [f"{name}={getattr(self.resolved, name)}" for name in ("device", "precision", "threads")]
        self.data = [*settings, *fixed]
        if quick:
            few = replace(splits, train=splits.train[:QUICK_IMAGES], val=splits.val[: QUICK_IMAGES // 11])
            self.data += ["data=mnist_5k"]
        else:
            few = splits
        networks = {name: config.network for name, config in configs.items()}
        self.track = Track(networks, few, self.resolved, rounds=1 if quick else 3)
        self.folder = folder
        self.found: dict[str, Any] = {}
        self.machine = {
            "processor": processor()["cpu"],
            "device": self.resolved.device,
            "threads": self.resolved.threads,
            "precision": f"{self.resolved.precision} (ordinary way: fp32)",
            "data": f"{first.data.name}, {len(few.train)} images to train on",
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": version("torchvision"),
            "onnxruntime": version("onnxruntime"),
            "kdbench": version("kdbench") + (", QUICK: figures mean nothing" if quick else ""),
        }

    @classmethod
    def set_up(cls, settings: list[str], quick: bool, folder: Path) -> Bench:
        """Compose the models' own configurations under `settings`, and load the data."""
        configs = configurations(settings)
        first = next(iter(configs.values()))
        used, splits = load(first.data, first.fallback)
        configs = {model: replace(config, data=used) for model, config in configs.items()}
        return cls(configs, splits, settings, quick, folder)

    def races(self, made: list[Callable[[], Race]]) -> list[dict[str, Any]]:
        """Run races, printing each."""
        print(f"{'':<28}{'kdbench':>24}{'ordinary':>24}{'ratio':>10}")
        results = []
        for run in made:
            result = run()
            print(result.line(), flush=True)
            results.append(asdict(result) | {"ratio": result.ratio})
        return results


def configurations(settings: list[str]) -> dict[str, Config]:
    """Return the configuration of the baseline of each model that a sweep is over, under `settings`."""
    ConfigStore.instance().store(name="schema", node=Schema, provider="kdbench")
    folders = [config_dir()]
    data = next((text.partition("=")[2] for text in settings if text.startswith("data=")), "mnist")
    configs = {}
    with hydra.initialize_config_dir(str(config_dir()), version_base="1.3"):
        for model in [*chosen_options("model", EVERYTHING, list(options("model", folders))), "lenet5", "lenet5_half"]:
            overrides = [f"model={model}", *settings]
            composed = hydra.compose("config", overrides)
            names = {"data": data, "model": model, "compress": "baseline"}
            configs[model] = resolve(composed, names, overrides, folders)
    return configs


def machine_ceiling(bench: Bench) -> dict[str, float]:
    """Dense products and the convolutions of two networks, by themselves."""
    found = {}
    for dtype, name in ((torch.float32, "fp32"), (torch.bfloat16, "bf16")):
        found[f"matmul 2048 {name}"] = ceiling.matmul_flops(2048, dtype) / 1e9
        for network in ("cnn_deep", "resnet_deep"):
            images = bench.track.batch(network)
            seconds, operations = ceiling.of_training(bench.track.network(network), images, dtype)
            found[f"convolutions of {network} {name}"] = operations / seconds / 1e9
    for name, speed in found.items():
        print(f"{name:<36}{speed:>8.0f} GFLOP/s", flush=True)
    return found


def train(bench: Bench) -> list[dict[str, Any]]:
    """Train on the labels."""
    names = ("mlp_simple", "cnn_deep", "resnet_deep")
    return bench.races([lambda name=name: training.train(bench.track, name) for name in names])


def distill(bench: Bench) -> list[dict[str, Any]]:
    """Distill, with images as they are and shifted."""
    pairs = [
        ("mlp_simple", "mlp_deep", 0),
        ("cnn_medium", "cnn_deep", 0),
        ("resnet_simple", "resnet_deep", 0),
        ("cnn_medium", "cnn_deep", 2),
    ]
    return bench.races([lambda pair=pair: training.distill(bench.track, *pair) for pair in pairs])


def several_networks(bench: Bench) -> list[dict[str, Any]]:
    """Methods that run several networks on each batch, against those passes alone."""
    return bench.races(methods.races(bench.track))


def compress(bench: Bench) -> list[dict[str, Any]]:
    """Quantize and prune while training, against plain training."""
    return bench.races(compressing.races(bench.track))


def speedrun(bench: Bench) -> dict[str, Any]:
    """Reach 99% test accuracy."""
    data, test = bench.splits.train, bench.splits.test
    tries = 1 if bench.quick else 2
    ours, accuracies = commands.speedrun(bench.folder, bench.data, seeds=1 if bench.quick else 10)
    print(f"kdbench: {spread(ours)} from process start to trained weights; accuracy {commands.summary(accuracies)}")
    if bench.quick:
        data, test = data[:QUICK_IMAGES], test
    whole = data if bench.quick else joined(bench.splits)
    theirs = [commands.tutorial_to(0.5 if bench.quick else 0.99, whole, test, seed) for seed in range(tries)]
    seconds = [time for time, _ in theirs]
    ratio = mean(seconds) / mean(ours)
    print(f"ordinary: {spread(seconds)}, {[epochs for _, epochs in theirs]} epochs; ratio {ratio:.1f}x")
    return {"ours_s": ours, "accuracy": accuracies, "theirs_s": seconds, "ratio": ratio}


def joined(splits: Splits) -> Split:
    """All that MNIST has to train on: the tutorial keeps nothing for validation."""
    parts = (splits.train, splits.val)
    return Split(torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]))


def startup(bench: Bench) -> dict[str, float]:
    """Commands that train nothing."""
    found = commands.startup(3 if bench.quick else 9)
    for name, seconds in found.items():
        print(f"{name:<36}{seconds:>8.2f} s")
    return found


def overhead(bench: Bench) -> dict[str, float]:
    """A variant whose trainings lie in the store: in that of the sweep, or else after one epoch each."""
    swept = bench.folder / "sweep"
    short = [] if swept.exists() and not bench.quick else ["train.epochs=1"]
    found = commands.overhead(swept, [*bench.data, *short], ("mlp_simple", "cnn_deep", "resnet_deep"))
    for name, seconds in found.items():
        print(f"{name:<36}{seconds:>8.2f} s a variant")
    return found


def memory(bench: Bench) -> dict[str, float]:
    """Peak memory of a training."""
    found = {
        model: commands.memory(bench.folder / "memory", bench.data, model)
        for model in ("mlp_deep", "cnn_deep", "resnet_deep")
    }
    for name, peak in found.items():
        print(f"{name:<36}{peak:>8.2f} GB")
    return found


def plot(bench: Bench) -> dict[int, float]:
    """Charts over many rows."""
    folder = bench.folder / "examples"
    models = ("mlp_simple", "mlp_medium")
    sweep = [f"model={','.join(models)}", "data=mnist_5k", "train.epochs=1", f"outputs={folder}"]
    commands.command("sweep", *sweep)
    examples = [read(path) for path in sorted(folder.glob("runs/*/*/metrics.csv"))]
    found = commands.plot(bench.folder, examples, (36, 100 if bench.quick else 10_000))
    for count, seconds in found.items():
        print(f"{count:>8} rows{seconds:>8.2f} s")
    return found


def sweep(bench: Bench) -> dict[str, float]:
    """All 36 variants from nothing."""
    settings = [*bench.data, "train.epochs=1"] if bench.quick else bench.data
    found = commands.sweep(bench.folder / "sweep", settings)
    for name, value in found.items():
        print(f"{name:<16}{value:>10.2f}")
    return found


def pictures(bench: Bench) -> dict[str, float]:
    """A folder of 100,000 pictures."""
    count = 2_000 if bench.quick else 100_000
    found = folder.measure(bench.folder / "folder", count, 1 if bench.quick else 3)
    for name, seconds in found.items():
        print(f"{count:,} PNG of 32x32, {name:<16}{seconds:>8.2f} s")
    return found


ROWS: dict[str, Callable[[Bench], Any]] = {
    "ceiling": machine_ceiling,
    "train": train,
    "distill": distill,
    "compress": compress,
    "methods": several_networks,
    "startup": startup,
    "memory": memory,
    "plot": plot,
    "pictures": pictures,
    "speedrun": speedrun,
    "sweep": sweep,
    "overhead": overhead,
}


if __name__ == "__main__":
    sys.exit(main())
