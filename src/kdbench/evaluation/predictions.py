"""The logits of an artifact on a whole split."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from kdbench.artifact.file import Artifact
from kdbench.artifact.session import Session, session
from kdbench.data.splits import Split
from kdbench.storage import machine

BATCH = 256


class Predictions:
    """The logits of files, each run once over each split: the runs of a sweep share baselines and teachers."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], np.ndarray] = {}

    def of(self, file: Artifact, split: Split, fingerprint: str, threads: int) -> np.ndarray:
        """Return float64 logits (n, classes) of the images of `split`, in its order; `fingerprint` is the split's."""
        key = (hashlib.sha256(file.content).hexdigest(), fingerprint)
        if key not in self.known:
            # Each thread runs batches of its own: ONNX Runtime's int8 convolutions make poor use of several threads
            # within one batch (ResNet-20 was 2 to 4 times faster this way, on two cores).
            self.known[key] = predict(session(file.content, 1), split, threads)
        return self.known[key]


def predict(run: Session, split: Split, workers: int = 1) -> np.ndarray:
    """Return float64 logits (n, classes) of the images of `split`, in its order; `workers` threads call `run`.

    In batches of 256, the last one smaller. The size matters for dynamic quantization, whose activations
    are scaled by their range over the batch.
    """

    def logits(images: object) -> np.ndarray:
        machine.stand_still()
        return run(pixels(images))

    with ThreadPoolExecutor(workers) as pool:
        parts = list(pool.map(logits, split.images.split(BATCH)))
    return np.concatenate(parts).astype(np.float64)


def pixels(images: object) -> np.ndarray:
    """Grey levels uint8 (n, channels, height, width) as float32 in [0, 1], as the artifact takes them."""
    return np.asarray(images, np.float32) / np.float32(255)
