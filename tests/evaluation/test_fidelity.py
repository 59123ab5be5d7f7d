import math

import numpy as np
import pytest

from kdbench.evaluation.accuracy import log_softmax
from kdbench.evaluation.fidelity import agreement, ensemble, reference_kl

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


def test_an_ensemble_is_the_log_of_the_mean_of_the_probabilities():
    several = [LOGITS, LOGITS[::-1], 3 * LOGITS + 1]
    expected = sum(np.exp(own) / np.exp(own).sum(axis=1, keepdims=True) for own in several) / 3
    found = ensemble(several)
    assert np.allclose(np.exp(found), expected)
    assert np.exp(found).sum(axis=1) == pytest.approx(1)


def test_an_ensemble_is_no_mean_of_logits():
    sure, unsure = np.array([[10.0, 0.0]]), np.array([[0.0, 1.0]])
    assert np.exp(ensemble([sure, unsure]))[0, 0] == pytest.approx((1 / (1 + math.exp(-10)) + 1 / (1 + math.e)) / 2)


def test_an_ensemble_of_one_is_that_network_and_of_equals_each_of_them():
    assert ensemble([LOGITS]) is LOGITS
    assert np.allclose(ensemble([LOGITS, LOGITS + 2]), log_softmax(LOGITS))


def test_the_order_of_an_ensemble_does_not_matter():
    assert np.allclose(ensemble([LOGITS, 2 * LOGITS]), ensemble([2 * LOGITS, LOGITS]))


def test_members_of_an_ensemble_count_by_their_weights():
    first, second = LOGITS, LOGITS[::-1]
    assert np.allclose(np.exp(ensemble([first, second], [3, 1])), np.exp(ensemble([first, first, first, second])))
    assert np.allclose(ensemble([first, second], [1, 1]), ensemble([first, second]))
