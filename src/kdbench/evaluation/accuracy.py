"""How often a network is right, and how well it knows. Logits (n, classes), labels (n,), all float64/int64."""

from __future__ import annotations

import numpy as np


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return log-probabilities (n, classes)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def errors(logits: np.ndarray, labels: np.ndarray) -> int:
    """Count the images whose largest logit is not the label's."""
    return int((logits.argmax(axis=1) != labels).sum())


def errors_by_class(logits: np.ndarray, labels: np.ndarray) -> str:
    """Count the errors on images of each class, as words by its number: `0=3 1=0 2=7`."""
    wrong = labels[logits.argmax(axis=1) != labels]
    return " ".join(f"{label}={count}" for label, count in enumerate(np.bincount(wrong, minlength=logits.shape[1])))


def nll(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean negative log-likelihood of the labels, in nats."""
    return float(-log_softmax(logits)[np.arange(len(labels)), labels].mean())


def ece(logits: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Return the expected calibration error (Guo et al. 2017, On Calibration, section 2, equation 3).

    The mean over images of |accuracy - confidence| of their bin, `bins` bins of equal width.
    """
    confidence = np.exp(log_softmax(logits).max(axis=1))
    right = logits.argmax(axis=1) == labels
    bin_of = np.minimum((np.ceil(confidence * bins) - 1).astype(int), bins - 1)
    gaps = np.bincount(bin_of, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))
