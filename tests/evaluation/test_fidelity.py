import math

import numpy as np
import pytest

from kdbench.evaluation.fidelity import agreement, reference_kl

LOGITS = np.random.default_rng(0).normal(size=(50, 10))


def test_a_network_agrees_with_itself_however_its_logits_are_shifted():
    assert agreement(LOGITS, LOGITS) == 1
    assert reference_kl(LOGITS, LOGITS + 3) == pytest.approx(0, abs=1e-12)


def test_divergence_is_from_the_reference_and_never_negative():
    uniform, skewed = np.zeros((1, 2)), np.array([[0.0, math.log(3)]])
    assert reference_kl(skewed, uniform) == pytest.approx(math.log(2) - math.log(3) / 2)
    assert reference_kl(uniform, skewed) == pytest.approx(math.log(2) - (math.log(4) - 0.75 * math.log(3)))
    assert reference_kl(LOGITS, LOGITS[::-1]) > 0


def test_agreement_counts_classes_not_correctness():
    first, second = np.eye(10)[[1, 2, 3, 4]], np.eye(10)[[1, 2, 0, 0]]
    assert agreement(first, second) == 0.5
