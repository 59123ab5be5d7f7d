"""Every figure of a row, read off the file that ships. The only reader of the test split."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from torch import nn

from kdbench.artifact.file import Artifact, Artifacts
from kdbench.artifact.packing import kdz
from kdbench.artifact.session import session
from kdbench.data.splits import Splits
from kdbench.errors import Collapsed
from kdbench.evaluation import accuracy, fidelity, size, speed
from kdbench.evaluation.predictions import Predictions, pixels
from kdbench.evaluation.robustness import robust_accuracy
from kdbench.evaluation.weights import float_layers, one_scale_layers
from kdbench.models.network import parameters
from kdbench.networks.compared import Compared
from kdbench.storage.checksums import checksum
from kdbench.training.fit import validate
from kdbench.training.runtime import Runtime

predictions = Predictions()  # of this process
TRANSFER_IMAGES = 10_000


def measure(
    splits: Splits,
    machine: Runtime,
    networks: Compared,
    artifacts: Artifacts,
    compared: bool,
    robust_eps: float | None = None,
) -> dict[str, Any]:
    """Return the figures by the names of their columns, but `times`.

    `robust_eps` is the size of the attacks under which the accuracy is measured too; None: it is not.
    If `compared`, it is with its teachers, several as the weighted mean of their probabilities, or the baseline if
    there is none. Raises `Collapsed` if the file gives one class to every image.
    """
    shipped, labels = artifacts.shipped, splits.test.labels.numpy()
    logits = logits_of(shipped, splits, machine)
    if len(set(logits.argmax(1))) == 1:
        raise Collapsed("the file gives the same class to every test image: compress less, or train longer")
    weights = networks.teacher_weights
    other = reference(splits, machine, artifacts, weights) if compared else None
    was_taught = other is not None and bool(artifacts.teachers)
    own, taught = networks.shipped.whole, networks.shipped.whole_teaching
    count = parameters(networks.shipped.network)
    history = networks.shipped.history
    teachers = networks.teachers
    taught_here = bool(networks.shipped.spent_teaching)  # or by teachers that were given, at what cost nobody knows
    attacked = None
    if robust_eps is not None:
        attacked = robust_accuracy(networks.shipped.network, session(shipped.content, 1), splits.test, robust_eps)
    return {
        **of_the_file(shipped, logits, labels),
        "agreement": None if other is None else fidelity.agreement(logits, other),
        "teacher_kl": None if other is None else fidelity.reference_kl(logits, other),
        "teacher_accuracy": 1 - accuracy.errors(other, labels) / len(labels) if was_taught else None,
        **of_transfer(machine, networks, artifacts),
        "robust_accuracy": attacked,
        "robust_eps": robust_eps,
        "val_accuracy": history[-1].val_accuracy if history else of_given(networks.shipped.network, splits, machine),
        "file_val_accuracy": on_validation(shipped, splits, machine),
        "parameters": count,
        "nonzero_parameters": count - size.zero_weights(shipped.file),
        "baseline_size_bytes": artifacts.baseline.size_bytes,
        "teacher_size_bytes": sum(file.size_bytes for file in artifacts.teachers) if teachers else None,
        "train_seconds": own.seconds,
        "train_cpu_seconds": own.cpu_seconds,
        "teacher_train_seconds": taught.seconds if taught_here else None,
        "teacher_train_cpu_seconds": taught.cpu_seconds if taught_here else None,
        "train_threads": networks.train_threads,
    }


def of_transfer(machine: Runtime, networks: Compared, artifacts: Artifacts) -> dict[str, Any]:
    """Return the columns of what it learned from under its teachers: how much that was, and how alike they are there.

    The latter on `TRANSFER_IMAGES` from all over a transfer set that was named.
    """
    columns = ("transfer_agreement", "transfer_kl", "transfer_nll", "transfer_ece")
    found: dict[str, Any] = dict.fromkeys(columns)
    learnt = networks.transfer
    if learnt is None:
        return {"transfer_images": None, **found}
    train = learnt.splits.train
    if learnt.name is not None:
        seen, name = train.evenly(TRANSFER_IMAGES), f"{learnt.splits.fingerprint} transfer"
        files = (artifacts.shipped, *artifacts.teachers)
        own, *others = (predictions.of(file, seen, name, machine.threads) for file in files)
        other = fidelity.ensemble(others, networks.teacher_weights)
        found |= {
            "transfer_agreement": fidelity.agreement(own, other),
            "transfer_kl": fidelity.reference_kl(own, other),
        }
        if learnt.splits.labelled:
            labels = seen.labels.numpy()
            found |= {"transfer_nll": accuracy.nll(own, labels), "transfer_ece": accuracy.ece(own, labels)}
    return {"transfer_images": len(train), **found}


def times(splits: Splits, machine: Runtime, artifacts: Artifacts) -> dict[str, Any]:
    """Return the columns of how fast the file is, beside the same network uncompressed."""
    images = pixels(splits.test.images[: speed.THROUGHPUT_BATCH])
    threads = machine.threads_measuring
    found = speed.measure(artifacts.shipped.content, artifacts.baseline.content, images, threads)
    return asdict(found) | {"threads": threads}


def of_given(network: nn.Module, splits: Splits, machine: Runtime) -> float:
    """Return the accuracy on the validation split of a network that has no history: one that was not trained here."""
    return validate(copy.deepcopy(network).to(machine.device), splits.val, machine).accuracy


def on_validation(file: Artifact, splits: Splits, machine: Runtime) -> float:
    """Return the accuracy of a file on the validation split: what files are to be chosen by."""
    logits = predictions.of(file, splits.val, f"{splits.fingerprint} val", machine.threads)
    return 1 - accuracy.errors(logits, splits.val.labels.numpy()) / len(splits.val)


def reference(splits: Splits, machine: Runtime, artifacts: Artifacts, weights: Sequence[float] | None) -> np.ndarray:
    """Return the logits (n, classes) that the file's are compared with; `weights` are those of several teachers."""
    compared = artifacts.teachers or (artifacts.baseline,)
    return fidelity.ensemble([logits_of(file, splits, machine) for file in compared], weights)


def logits_of(file: Artifact, splits: Splits, machine: Runtime) -> np.ndarray:
    """Return the logits float64 (n, classes) of a file on the test split."""
    return predictions.of(file, splits.test, splits.fingerprint, machine.threads)


def of_the_file(shipped: Artifact, logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Return the columns that the file and the test images decide alone."""
    wrong = accuracy.errors(logits, labels)
    return {
        "accuracy": 1 - wrong / len(labels),
        "errors": wrong,
        "errors_by_class": accuracy.errors_by_class(logits, labels),
        "test_images": len(labels),
        "nll": accuracy.nll(logits, labels),
        "ece": accuracy.ece(logits, labels),
        "macs": size.macs(shipped.file),
        "weight_bytes": size.weight_bytes(shipped.file),
        "float_layers": " ".join(float_layers(shipped.file)) or None,
        "one_scale_layers": " ".join(one_scale_layers(shipped.file)) or None,
        "size_bytes": shipped.size_bytes,
        "size_gzip_bytes": size.gzip_bytes(shipped.content),
        "packed_bytes": len(shipped.packed),
        "payload_bytes": kdz.payload_bytes(shipped.packed),
        "artifact_sha256": checksum(shipped.content),
    }
