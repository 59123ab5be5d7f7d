"""How alike two networks are (Stanton et al. 2021, Does Knowledge Distillation Really Work?, section 3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kdbench.evaluation.accuracy import log_softmax


def agreement(logits: np.ndarray, reference: np.ndarray) -> float:
    """Return the share of images, in [0, 1], on which both give the same class. Shapes (n, classes)."""
    return float((logits.argmax(axis=1) == reference.argmax(axis=1)).mean())


def reference_kl(logits: np.ndarray, reference: np.ndarray) -> float:
    """Return the mean over images of KL(reference || network), in nats, at temperature 1."""
    target, own = log_softmax(reference), log_softmax(logits)
    return float((np.exp(target) * (target - own)).sum(axis=1).mean())


def ensemble(logits: Sequence[np.ndarray], weights: Sequence[float] | None = None) -> np.ndarray:
    """Return the log of the weighted mean of several networks' probabilities, (n, classes); of one, its logits."""
    if len(logits) == 1:
        return logits[0]
    return np.log(np.average([np.exp(log_softmax(own)) for own in logits], axis=0, weights=weights))
