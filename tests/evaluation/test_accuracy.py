import math

import numpy as np
import pytest

from kdbench.evaluation import accuracy


def logits_of(probabilities) -> np.ndarray:
    return np.log(np.asarray(probabilities, float))


def test_a_perfect_model_has_no_errors_whatever_the_number_of_images():
    labels = np.random.default_rng(0).integers(0, 10, 10_000)
    assert accuracy.errors(np.eye(10)[labels], labels) == 0
    assert accuracy.errors(np.eye(10)[(labels + 1) % 10], labels) == 10_000


def test_nll_of_ignorance_and_of_known_probabilities():
    assert accuracy.nll(np.zeros((4, 10)), np.arange(4)) == pytest.approx(math.log(10))
    assert accuracy.nll(logits_of([[0.25, 0.75]]), np.array([1])) == pytest.approx(-math.log(0.75))


def test_log_softmax_survives_large_logits():
    assert accuracy.log_softmax(np.array([[1e4, 0.0]])).tolist() == [[0.0, -1e4]]


def test_ece_is_zero_for_the_calibrated_and_the_gap_for_the_overconfident():
    half = logits_of([[0.75, 0.25]] * 4)
    assert accuracy.ece(half, np.array([0, 0, 0, 1])) == pytest.approx(0)
    assert accuracy.ece(half, np.array([1, 1, 1, 1])) == pytest.approx(0.75)


def test_ece_weighs_bins_by_their_images():
    # Three images at 0.6 with accuracy 1/3, one at 0.9 that is right.
    logits = logits_of([[0.6, 0.4]] * 3 + [[0.9, 0.1]])
    found = accuracy.ece(logits, np.array([0, 1, 1, 0]))
    assert found == pytest.approx((3 * abs(1 / 3 - 0.6) + abs(1 - 0.9)) / 4)


def test_opposite_gaps_in_one_bin_cancel_but_in_two_bins_add():
    logits = logits_of([[0.61, 0.39], [0.99, 0.01]])
    assert accuracy.ece(logits, np.array([0, 1]), bins=1) == pytest.approx(abs(0.5 - 0.8))
    assert accuracy.ece(logits, np.array([0, 1]), bins=10) == pytest.approx((0.39 + 0.99) / 2)
