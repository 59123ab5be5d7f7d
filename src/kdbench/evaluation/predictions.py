"""The logits of an artifact on a whole split."""

from __future__ import annotations

import numpy as np

from kdbench.artifact import Session
from kdbench.data.splits import Split

BATCH = 256


def predict(run: Session, split: Split) -> np.ndarray:
    """Return float64 logits (n, 10) of every image of `split`, in its order.

    In batches of 256, the last one smaller. The size matters for dynamic quantization, whose activations
    are scaled by their range over the batch.
    """
    parts = [run(pixels(images)) for images in split.images.split(BATCH)]
    return np.concatenate(parts).astype(np.float64)


def pixels(images: object) -> np.ndarray:
    """Grey levels uint8 (n, 1, 28, 28) as float32 in [0, 1], as the artifact takes them."""
    return np.asarray(images, np.float32) / np.float32(255)
