"""What can be said of differences."""

import math

import numpy as np
import pytest
from scipy import stats

from kdbench.results.paired import detectable, difference, digits, figure, share


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


def test_what_differs_alike_every_time_cannot_be_tested():
    shares = [0.943, 0.957, 0.961]
    for one, other in (([2, 3, 4], [1, 2, 3]), ([1, 2, 3], [1, 2, 3]), ([value + 0.02 for value in shares], shares)):
        found = difference(one, other)
        assert (found.p, found.seen, found.shown) == (None, None, False)
        assert found.verdict == "the same difference in all 3 seeds, which cannot be tested"


def test_of_no_difference_one_in_twenty_is_called_one():
    random = np.random.default_rng(0)
    found = [difference(*random.normal(size=(2, 5))).shown for _ in range(2000)]
    assert 0.035 < np.mean(found) < 0.065


@pytest.mark.parametrize("count", [2, 3, 5, 12])
def test_what_would_have_been_seen_is_seen_four_times_in_five(count):
    """With the spread known, by drawing."""
    random = np.random.default_rng(0)
    apart = detectable(count) / math.sqrt(count)
    drawn = random.normal(apart, 1, (20_000, count))
    t = drawn.mean(1) / drawn.std(1, ddof=1) * math.sqrt(count)
    assert np.mean(abs(t) > stats.t.ppf(0.975, count - 1)) == pytest.approx(0.8, abs=0.01)


def test_a_share_is_that_of_the_means():
    found = share([-20, -20, -20], [-40, -1, 1])
    assert found is None  # no whole is shown
    found = share([-45, -40], [-50, -50])
    assert found.mean == 0.85
    assert found.low < 0.85 < found.high
    assert share([-45], [-50]).mean == 0.9


def test_the_interval_of_a_share_holds_it_nineteen_times_in_twenty():
    random = np.random.default_rng(1)
    held = 0
    for _ in range(1000):
        wholes = random.normal(10, 1, 5)
        parts = random.normal(8, 2, 5)
        found = share(parts, wholes)
        held += found.low <= 0.8 <= found.high
    assert 0.93 < held / 1000 < 0.97


@pytest.mark.parametrize(
    ("value", "count", "sign", "text"),
    [
        (-1265.4, 3, "+", "-1,265"),
        (998.6, 3, "+", "+999"),
        (999.7, 3, "+", "+1,000"),
        (1863.2, 4, "-", "1863"),
        (0.98765432, 4, "-", "0.9877"),
        (0.0000667, 3, "-", "0.0000667"),
        (-0.00002, 3, "+", "-0.0000200"),
        (0.0, 3, "+", "+0"),
    ],
)
def test_no_number_is_written_with_an_exponent(value, count, sign, text):
    assert digits(value, count, sign) == text
