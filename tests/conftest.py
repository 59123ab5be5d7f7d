from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from kdbench.data import mnist_5k as embedded
from kdbench.data.splits import Split, Splits
from kdbench.results.row import Row
from kdbench.settings import own_folder
from kdbench.settings.config import CompressConfig, Config, DataConfig, NetworkConfig, TrainConfig
from kdbench.training.runtime import Runtime


@pytest.fixture(autouse=True)
def steps_of_tests(monkeypatch):
    """Steps that tests define may be named in configurations."""
    monkeypatch.setattr(sys, "path", list(sys.path))  # which own_folder.serve changes
    monkeypatch.setattr(own_folder, "_folder", Path(__file__).parents[1])


@pytest.fixture(scope="session")
def digits() -> Splits:
    """The 5,000 embedded digits, read once."""
    return embedded.load()


@pytest.fixture
def few(digits: Splits) -> Splits:
    """300 of them to train on: enough to learn something in a second."""
    order = torch.randperm(len(digits.train), generator=torch.Generator().manual_seed(0))
    return Splits(digits.train[order[:300]], digits.val[order[:100] % 500], digits.test)


@pytest.fixture
def machine() -> Runtime:
    return Runtime("cpu", "fp32", torch.get_num_threads())


RECIPE = TrainConfig(epochs=2, batch_size=64, lr=0.01, weight_decay=0.01, shift=0)


@pytest.fixture
def recipe() -> TrainConfig:
    return replace(RECIPE)


def mlp(seed: int = 0, **knobs: Any) -> NetworkConfig:
    recipe = {name: knobs.pop(name) for name in list(knobs) if hasattr(RECIPE, name)}
    model = {"_target_": "kdbench.models.mlp.MLP", "widths": [16], **knobs}
    return NetworkConfig("mlp_tiny", model, replace(RECIPE, **recipe), seed)


@pytest.fixture
def make_config(tmp_path: Path):
    """Return a function that makes a run's configuration on the embedded digits, without Hydra."""

    def make(compress: str = "baseline", *steps: dict[str, Any], **changes: Any) -> Config:
        config = Config(
            data=DataConfig("mnist_5k", {"_target_": "kdbench.data.mnist_5k.load"}, None, tmp_path),
            fallback=None,
            network=mlp(),
            compress=CompressConfig(compress, steps, ""),
            teacher=None,
            device="cpu",
            precision="fp32",
            threads=None,
            outputs=tmp_path / "outputs",
        )
        return replace(config, **changes)

    return make


@pytest.fixture
def noise() -> Split:
    """Random images and labels, for laws that need no digits."""
    random = torch.Generator().manual_seed(0)
    images = torch.randint(256, (50, 1, 28, 28), generator=random, dtype=torch.uint8)
    return Split(images, torch.randint(10, (50,), generator=random))


def make_row(**changes: Any) -> Row:
    row = Row(
        dataset="mnist",
        model="cnn_deep",
        compress="baseline",
        teacher=None,
        teacher_seed=None,
        settings="",
        seed=0,
        accuracy=0.9961,
        errors=39,
        test_images=10_000,
        nll=0.0123456789012345,
        ece=1e-17,
        agreement=None,
        teacher_kl=None,
        teacher_accuracy=None,
        val_accuracy=0.99,
        parameters=288_170,
        nonzero_parameters=288_170,
        macs=29_128_448,
        weight_bytes=1_150_000,
        size_bytes=1_160_000,
        size_gzip_bytes=1_070_000,
        baseline_size_bytes=1_160_000,
        teacher_size_bytes=None,
        latency_ms=1 / 3,
        latency_p90_ms=0.4,
        throughput=4000.0,
        train_seconds=220.0,
        teacher_train_seconds=None,
        device="cpu",
        precision="bf16",
        threads=2,
        cpu='A "CPU", with a comma',
        kdbench_version="0.1.0",
        python_version="3.11.7",
        torch_version="2.13.0",
        onnxruntime_version="1.32.0",
        config_hash="c0",
        variant_hash="v0",
        network_hash="n0",
        teacher_hash=None,
        data_fingerprint="f0",
        artifact_sha256="a0",
    )
    return replace(row, **changes)
