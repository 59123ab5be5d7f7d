"""What can be said of differences."""

import math

import numpy as np
import pytest

from kdbench.results.paired import difference, figure


def test_a_mean_and_its_interval_by_hand():
    # 1, 2, 3: s = 1, t[0.975] with 2 degrees of freedom is 4.302653.
    found = figure([1, 2, 3])
    assert (found.mean, found.count) == (2, 3)
    assert found.high - 2 == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert 2 - found.low == pytest.approx(found.high - 2)


def test_one_value_has_no_interval_and_one_pair_no_verdict():
    assert figure([5]).low == figure([5]).high == 5
    found = difference([3], [1])
    assert (found.mean, found.p, found.seen, found.shown) == (2, None, None, False)


def test_a_paired_difference_by_hand():
    # Differences 1, 2, 3: t = 2 / (1 / sqrt 3) = 3.4641 with 2 degrees of freedom, p = 0.0742.
    found = difference([2, 4, 6], [1, 2, 3])
    assert found.mean == 2
    assert found.p == pytest.approx(0.07418, abs=1e-4)
    assert not found.shown


def test_what_differs_alike_every_time_is_shown_and_what_does_not_differ_is_not():
    assert difference([2, 3], [1, 2]).shown
    assert not difference([1, 2], [1, 2]).shown


def test_of_no_difference_one_in_twenty_is_called_one():
    random = np.random.default_rng(0)
    found = [difference(*random.normal(size=(2, 5))).shown for _ in range(2000)]
    assert 0.035 < np.mean(found) < 0.065


def test_what_would_have_been_seen_is_seen_four_times_in_five():
    random = np.random.default_rng(0)
    count, spread = 12, 3.0
    typical = np.mean([difference(random.normal(0, spread, count), np.zeros(count)).seen for _ in range(200)])
    found = [difference(random.normal(typical, spread, count), np.zeros(count)).shown for _ in range(2000)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.05)
