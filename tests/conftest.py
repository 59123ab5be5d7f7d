from __future__ import annotations

import functools
import gc
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from kdbench.artifact.ship import ship
from kdbench.compress.step import Examples, Task, no_fit
from kdbench.data import mnist_5k
from kdbench.data.splits import Split, Splits
from kdbench.evaluation import fastest, speed
from kdbench.networks.compared import compared
from kdbench.networks.maker import Maker
from kdbench.results.row import Row
from kdbench.settings import code, own_folder
from kdbench.settings.config import Config
from kdbench.settings.network import DataSpec, NetworkSpec, Recipe, StepSpec
from kdbench.storage import locks
from kdbench.storage import machine as timing
from kdbench.storage.store import Store
from kdbench.training import runtime
from kdbench.training.runtime import Runtime
from tests import composing, exporting

# Fixtures of tests that train something, or draw all charts.
LONG = {"make_config", "trained", "few", "recipe", "ran", "own_files", "own_runs", "outputs"}

LONGEST = {"faults", "test_extension.py", "test_charts.py"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick", action="store_true", help="nothing that trains, exports or starts commands; no faults"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--quick"):
        items[:] = [item for item in items if not slow(item)]
    items.sort(key=lambda item: not LONGEST.intersection(item.path.parts))  # or one process ends long after the other


def pytest_collection_finish() -> None:
    """What is imported stays: nobody looks through it again for what to free."""
    gc.collect()
    gc.freeze()


def slow(item: pytest.Item) -> bool:
    """Whether a test trains or exports something, or starts whole commands."""
    parts = item.path.relative_to(Path(__file__).parent).parts
    if parts[0] == "settings":
        return False
    exporting = {"artifact", "quantize", "test_size.py", "test_weights.py", "test_python.py", "test_predictions.py"}
    exporting |= {"test_torchvision_model.py", "test_charts.py", "test_readme.py"}  # or drawing, or composing, a lot
    long_part = parts[0] in ("faults", "cli", "benchmark", "object_store") or bool(exporting & set(parts))
    return long_part or bool(LONG & set(getattr(item, "fixturenames", ())))


@pytest.fixture(scope="session", autouse=True)
def timing_of_tests(tmp_path_factory):
    """Tests share the machine: what they time counts however it was disturbed, and nobody waits for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed, "LEAST_SHARE", 0.0)
        for name, little in (("SECONDS", 0.01), ("WARM_UP_SECONDS", 0.0), ("PASSES", 2), ("THROUGHPUT_BATCH", 32)):
            patch.setattr(speed, name, little)
        patch.setattr(fastest, "SECONDS", 0.05)
        patch.setattr(timing, "LOCK", tmp_path_factory.getbasetemp() / "timing.lock")
        yield


@pytest.fixture(scope="session", autouse=True)
def disks_of_tests():
    """Nothing is flushed: no test cuts the power, and those that kill processes leave the system's cache alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def threads_of_tests():
    """What takes all cores takes one: tests run side by side, and threads that wait for each other are slow then."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "cores", lambda: 1)
        yield


@pytest.fixture(scope="session", autouse=True)
def exports_of_tests(tmp_path_factory):
    """Exports are quicker: a structure is traced once, and torch lists all its operators once, not for every file."""
    of_all_processes = folder_of_all_processes(tmp_path_factory)
    with pytest.MonkeyPatch.context() as patch:
        exporting.quickened(patch)
        patch.setattr(torch.onnx, "export", exporting.traced_once(torch.onnx.export, of_all_processes))
        yield


def folder_of_all_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that all processes of the suite share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def filled_once(tmp_path_factory: pytest.TempPathFactory, name: str, fill: Callable[[Path], None]) -> Path:
    """Return a folder that `fill` was called with in one process for all: tests only read it."""
    folder = folder_of_all_processes(tmp_path_factory) / name
    done = folder.with_suffix(".done")
    with locks.held(folder.with_suffix(".lock"), "filling", quiet=True):
        if not done.exists():
            folder.mkdir()
            fill(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session", autouse=True)
def yaml_of_tests():
    """Texts of YAML are parsed once: every command reads the same files."""
    load = yaml.load

    @functools.cache
    def parsed(content: Any, loader: str) -> bytes:
        return pickle.dumps(load(content, loaders[loader]))

    loaders: dict[str, Any] = {}

    def load_once(stream: Any, Loader: Any) -> Any:  # noqa: N803 - as PyYAML calls it
        loaders[Loader.__qualname__] = Loader  # OmegaConf makes the same class anew at every call
        try:
            return pickle.loads(parsed(stream.read() if hasattr(stream, "read") else stream, Loader.__qualname__))
        except yaml.YAMLError:  # whose message names the file
            if hasattr(stream, "seek"):
                stream.seek(0)
            return load(stream, Loader)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml, "load", load_once)
        yield


@pytest.fixture(scope="session", autouse=True)
def composing_of_tests():
    """The same words are composed once from the same files."""
    with pytest.MonkeyPatch.context() as patch:
        composing.quickened(patch)
        yield


@pytest.fixture(scope="session", autouse=True)
def digits_of_tests():
    """The file of the embedded digits is read once: nothing changes images in place."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mnist_5k, "read", functools.cache(mnist_5k.read))
        yield


@pytest.fixture(autouse=True)
def steps_of_tests(monkeypatch):
    """What tests define may be named in configurations."""
    monkeypatch.setattr(sys, "path", list(sys.path))  # which own_folder.serve changes
    monkeypatch.setattr(own_folder, "_folder", Path(__file__).parents[1])
    monkeypatch.setattr(own_folder, "forget_modules", lambda: None)  # these tests would be imported anew


@pytest.fixture(scope="session")
def digits() -> Splits:
    """The 5,000 embedded digits, read once."""
    return mnist_5k.load()


@pytest.fixture
def few(digits: Splits) -> Splits:
    """300 of them to train on: enough to learn something in a second."""
    order = torch.randperm(len(digits.train), generator=torch.Generator().manual_seed(0))
    return Splits(digits.train[order[:300]], digits.val[order[:100] % 500], digits.test, digits.class_names)


def load_some(root: Path | None, cache: Path) -> Splits:
    """A data set for whole runs: 700 of the embedded digits to train on, and all 1,000 test images."""
    digits = mnist_5k.load()
    order = torch.randperm(len(digits.train), generator=torch.Generator().manual_seed(1))
    return Splits(digits.train[order[:700]], digits.val[order[:200] % 500], digits.test, digits.class_names)


@pytest.fixture(scope="session")
def colours() -> Splits:
    """Images of another shape: 3 x 32 x 32 in seven classes, each brighter in its own place and channel."""
    random = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        labels = torch.arange(count) % 7
        images = torch.randint(120, (count, 3, 32, 32), generator=random, dtype=torch.uint8)
        for image, label in zip(images, labels.tolist(), strict=True):
            image[label % 3, 4 * label : 4 * label + 6, 4 * label : 4 * label + 6] += 120
        return Split(images, labels)

    return Splits(split(140), split(70), split(70), tuple("abcdefg"))


@pytest.fixture
def machine() -> Runtime:
    return Runtime("cpu", "fp32", torch.get_num_threads())


RECIPE = Recipe(epochs=2, batch_size=64, lr=0.01, weight_decay=0.01, shift=0, flip=False)


@pytest.fixture
def recipe() -> Recipe:
    return replace(RECIPE)


OF_NETWORKS = ("weights", "weights_except", "normalise", "compress")


def mlp(seed: int = 0, *steps: StepSpec, **knobs: Any) -> NetworkSpec:
    """A tiny network: `knobs` are those of the model or of the recipe; `steps` what is done to it."""
    recipe = {name: knobs.pop(name) for name in list(knobs) if hasattr(RECIPE, name)}
    others = {name: knobs.pop(name) for name in OF_NETWORKS if name in knobs}
    model = {"_target_": "kdbench.models.mlp.MLP", "widths": [16], **knobs}
    return NetworkSpec("mlp_tiny", model, replace(RECIPE, **recipe), seed, steps=steps, **others)


QUANTIZE = {"_target_": "kdbench.compress.quantize.dynamic_int8.DynamicInt8"}
PRUNE = {
    "_target_": "kdbench.compress.prune.global_magnitude.GlobalMagnitude",
    "sparsity": 0.9,
    "finetune_epochs": 1,
    "statistics": 0,
    "finetune_lr_scale": 0.3,
}
FACTORIZE = {
    "_target_": "kdbench.compress.low_rank.factorize.Factorize",
    "keep": 0.5,
    "finetune_epochs": 1,
    "finetune_lr_scale": 0.3,
}
DISTILL = {"_target_": "kdbench.compress.distill.soft_targets.Distill", "temperature": 4, "alpha": 0.1}
WIDE = mlp(seed=1, widths=[32])  # the usual teacher


def distill(*teachers: NetworkSpec) -> StepSpec:
    """The step of distillation, under these teachers."""
    return StepSpec(DISTILL, teachers or (WIDE,))


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """A store of what many tests need, trained and exported once: who is not about training starts from a copy."""
    return filled_once(tmp_path_factory, "trained", train_all)


def train_all(folder: Path) -> None:
    machine = runtime.resolve("cpu", "fp32", None)
    machine.prepare()
    some = load_some(None, folder)
    maker = Maker(some, machine, Store(folder))
    for spec in (mlp(), mlp(seed=1), WIDE, mlp(0, StepSpec(PRUNE)), mlp(0, distill()), mlp(0, distill(mlp(seed=1)))):
        networks = compared(maker, spec)
        examples = Examples(some.train, some.val, some.class_names)
        ship(networks, (), Task(examples, (), no_fit, 0, networks.shipped.network), maker.store)


@pytest.fixture
def make_config(tmp_path: Path, trained: Path):
    """Return a function that makes a run's configuration on the embedded digits, without Hydra.

    The store of its `outputs` holds what is `trained`, unless `untrained` is asked for.
    """
    filled = []

    def make(compress: str = "baseline", *steps: dict[str, Any] | StepSpec, **changes: Any) -> Config:
        network = changes.pop("network", mlp())
        if not changes.pop("untrained", False) and not filled and "outputs" not in changes:
            shutil.copytree(trained, tmp_path / "outputs" / "store", dirs_exist_ok=True)
            filled.append(True)
        specs = tuple(step if isinstance(step, StepSpec) else StepSpec(step) for step in steps)
        config = Config(
            data=DataSpec("some", {"_target_": "tests.conftest.load_some"}, None, tmp_path),
            fallback=None,
            network=replace(network, steps=specs, compress=compress),
            settings="",
            device="cpu",
            precision="fp32",
            threads=None,
            outputs=tmp_path / "outputs",
        )
        return replace(config, **changes)

    return make


@pytest.fixture
def unpainted(monkeypatch):
    """Charts are laid out, and their files hold nothing: where it is only asked which there are."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda self, file, **_: file.write(b"nothing"))
    monkeypatch.setattr("matplotlib.figure.Figure.draw_without_rendering", lambda self: None)


@pytest.fixture
def noise() -> Split:
    """Random images and labels, for laws that need no digits."""
    random = torch.Generator().manual_seed(0)
    images = torch.randint(256, (50, 1, 28, 28), generator=random, dtype=torch.uint8)
    return Split(images, torch.randint(10, (50,), generator=random))


@pytest.fixture
def edited(monkeypatch, tmp_path):
    """A function that edits the source of a module of kdbench, as far as `settings.code` can see."""
    real, copies = code.source, {}
    monkeypatch.setattr(code, "source", lambda module: copies.get(module) or real(module))

    def edit(module: str, old: str, new: str) -> None:
        path = copies.get(module) or real(module)
        text = path.read_text()
        assert old in text
        copies[module] = tmp_path / f"{module}-{abs(hash(text + new))}.py"
        copies[module].write_text(text.replace(old, new))
        code._code_of.cache_clear()

    yield edit
    code._code_of.cache_clear()


def make_row(**changes: Any) -> Row:
    row = Row(
        dataset="mnist",
        model="cnn_deep",
        architecture="model.widths=[32,64,128] model.convs=2",
        recipe="train.epochs=20 train.lr=0.006",
        weights=None,
        origin="trained",
        compress="baseline",
        settings="",
        teacher=None,
        teacher_seed=None,
        teacher_settings=None,
        seed=0,
        seeds_together=1,
        accuracy=0.9961,
        errors=39,
        errors_by_class="0=39",
        test_images=10_000,
        nll=0.0123456789012345,
        ece=1e-17,
        agreement=None,
        teacher_kl=None,
        teacher_accuracy=None,
        transfer_images=None,
        transfer_agreement=None,
        transfer_kl=None,
        transfer_nll=None,
        transfer_ece=None,
        robust_accuracy=None,
        robust_eps=None,
        val_accuracy=0.99,
        file_val_accuracy=0.9901,
        parameters=288_170,
        nonzero_parameters=288_170,
        macs=29_128_448,
        weight_bytes=1_150_000,
        float_layers=None,
        one_scale_layers=None,
        size_bytes=1_160_000,
        size_gzip_bytes=1_070_000,
        packed_bytes=970_000,
        payload_bytes=969_000,
        baseline_size_bytes=1_160_000,
        teacher_size_bytes=None,
        latency_ms=1 / 3,
        latency_min_ms=0.32,
        latency_p90_ms=0.4,
        throughput=4000.0,
        speedup=1.0,
        speedup_low=1.0,
        speedup_high=1.0,
        throughput_ratio=1.0,
        throughput_ratio_low=1.0,
        throughput_ratio_high=1.0,
        cpu_share=0.99,
        train_seconds=220.0,
        train_cpu_seconds=430.0,
        teacher_train_seconds=None,
        teacher_train_cpu_seconds=None,
        device="cpu",
        precision="bf16",
        threads=2,
        train_threads=2,
        cpu='A "CPU", with a comma',
        cpu_family=25,
        cpu_model=17,
        cpu_capability="AVX512",
        kdbench_version="0.1.0",
        python_version="3.11.7",
        torch_version="2.13.0",
        onnx_version="1.19.0",
        onnxscript_version="0.5.6",
        onnxruntime_version="1.32.0",
        config_hash="c0",
        variant_hash="v0",
        network_hash="n0",
        teacher_hash=None,
        code_hash="1a2b3c4d",
        data_fingerprint="f0",
        artifact_sha256="a0",
        date="2026-11-25T16:06:52Z",
    )
    return replace(row, **changes)
