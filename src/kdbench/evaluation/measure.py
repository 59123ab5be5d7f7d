"""Everything a row says, read off the file that ships. The only reader of the test split."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import kdbench
from kdbench.artifact.file import Artifact, Artifacts
from kdbench.data.splits import Splits
from kdbench.errors import Collapsed
from kdbench.evaluation import accuracy, fidelity, size, speed
from kdbench.evaluation.predictions import Predictions, pixels
from kdbench.models.network import parameters
from kdbench.networks import Networks
from kdbench.results.row import Row
from kdbench.settings.checks import MARKUP
from kdbench.settings.config import Config
from kdbench.storage.checksums import checksum
from kdbench.training.runtime import Runtime

predictions = Predictions()  # of this process


def measure(config: Config, machine: Runtime, splits: Splits, networks: Networks, artifacts: Artifacts) -> Row:
    """Return the row of a run. What is compared with is the teacher, or the baseline if there is none.

    Raises `Collapsed` if the file gives one class to every image.
    """
    shipped = artifacts.shipped
    labels = splits.test.labels.numpy()
    logits = predictions.of(shipped, splits.test, splits.fingerprint, machine.threads)
    if len(set(logits.argmax(1))) == 1:
        raise Collapsed(
            f"{config.network.name} {config.compress.name} seed {config.network.seed} gives the same class to every "
            f"test image: compress less ({config.compress.settings or 'nothing'})"
        )
    reference = (artifacts.teacher or artifacts.baseline) if config.compress.steps else None
    other = predictions.of(reference, splits.test, splits.fingerprint, machine.threads) if reference else None
    taught = other is not None and artifacts.teacher is not None
    count = parameters(networks.shipped.network)
    timing = speed.measure(shipped.content, pixels(splits.test.images[: speed.THROUGHPUT_BATCH]), machine.threads)
    history = networks.shipped.history
    return Row(
        dataset=config.data.name,
        model=config.network.name,
        compress=config.compress.name,
        teacher=config.teacher.name if config.teacher else None,
        teacher_seed=config.teacher.seed if config.teacher else None,
        settings=config.compress.settings,
        seed=config.network.seed,
        **of_the_file(shipped, logits, labels),
        agreement=None if other is None else fidelity.agreement(logits, other),
        teacher_kl=None if other is None else fidelity.reference_kl(logits, other),
        teacher_accuracy=1 - accuracy.errors(other, labels) / len(labels) if taught else None,
        val_accuracy=history[-1].val_accuracy if history else None,
        parameters=count,
        nonzero_parameters=count - size.zero_weights(shipped.file),
        baseline_size_bytes=artifacts.baseline.size_bytes,
        teacher_size_bytes=artifacts.teacher.size_bytes if artifacts.teacher else None,
        latency_ms=timing.latency_ms,
        latency_p90_ms=timing.latency_p90_ms,
        throughput=timing.throughput,
        train_seconds=networks.shipped.seconds,
        teacher_train_seconds=networks.teacher.seconds if networks.teacher else None,
        device=machine.device,
        precision=machine.precision,
        threads=machine.threads,
        cpu=cpu_name(),
        python_version=platform.python_version(),
        **versions(),
        config_hash=config.hash,
        variant_hash=config.variant,
        network_hash=config.network_hash,
        teacher_hash=config.teacher_hash,
        data_fingerprint=splits.fingerprint,
    )


def of_the_file(shipped: Artifact, logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Return the columns that the file and the test images decide alone."""
    wrong = accuracy.errors(logits, labels)
    return {
        "accuracy": 1 - wrong / len(labels),
        "errors": wrong,
        "test_images": len(labels),
        "nll": accuracy.nll(logits, labels),
        "ece": accuracy.ece(logits, labels),
        "macs": size.macs(shipped.file),
        "weight_bytes": size.weight_bytes(shipped.file),
        "size_bytes": shipped.size_bytes,
        "size_gzip_bytes": size.gzip_bytes(shipped.content),
        "artifact_sha256": checksum(shipped.content),
    }


def versions() -> dict[str, str]:
    """Return the versions whose change may change a row."""
    return {
        "kdbench_version": kdbench.__version__,
        "torch_version": torch.__version__,
        "onnxruntime_version": version("onnxruntime"),
    }


def cpu_name() -> str:
    """Return the processor's name: latency and throughput mean nothing without it."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip().translate(dict.fromkeys(map(ord, MARKUP)))
    return platform.processor() or platform.machine()
