"""What a paper says, beside what was found."""

from dataclasses import replace

import pytest
from tests.conftest import make_row

from kdbench.errors import BadSetting
from kdbench.results.claims import claim_of, judged

RUNS = ["student", "alone"]
FIGURE = {"says": "few errors", "run": "student", "column": "errors", "paper": 74, "reach": "at most 80"}
COMPARISON = {**FIGURE, "than": "alone", "reach": "lower"}


def rows(*errors):
    return [replace(make_row(), seed=seed, errors=count) for seed, count in enumerate(errors)]


@pytest.mark.parametrize(
    ("errors", "verdict"),
    [
        ((70, 71, 72), "reached"),
        ((70, 80, 75), "reached, within noise"),
        ((80, 90, 76), "short by 2, within noise"),
        ((100, 101, 102), "short by 21"),
        ((81,), "short by 1"),
        ((), "failed: it has no rows"),
    ],
)
def test_a_figure_is_held_against_its_bound(errors, verdict):
    found = judged(claim_of(FIGURE, RUNS), {"student": rows(*errors)})
    assert (found.verdict, found.seeds) == (verdict, len(errors))


@pytest.mark.parametrize(
    ("errors", "verdict"),
    [
        ((60, 61, 65), "lower (p ="),
        ((90, 91, 95), "higher (p ="),
        ((79, 84, 80), "no difference shown (p ="),
        ((60,), "one seed: nothing can be said"),
        ((), "failed: it has no rows"),
    ],
)
def test_a_comparison_is_of_the_same_seeds(errors, verdict):
    found = judged(claim_of(COMPARISON, RUNS), {"student": rows(*errors), "alone": rows(80, 81, 82, 5)})
    assert found.verdict.startswith(verdict)
    assert found.seeds == len(errors)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run": "nobody"}, "there is no run nobody"),
        ({"column": "model"}, "model is no column of numbers"),
        ({"reach": "less than 3"}, "less than 3 is no bound such as 'at most 70'"),
        ({"reach": "at most many"}, "is no bound"),
        ({"than": "alone"}, "it reaches lower, higher, alike"),
        ({"more": 3}, "a claim is not one"),
        ({"than": "alone", "reach": "alike"}, "is so `within` a number"),
        ({"than": "alone", "reach": "lower", "within": 3}, "is so `within` a number"),
        ({"than": "alone", "reach": "alike", "within": "ten"}, "within ten is no number above 0"),
        ({"than": "alone", "reach": "alike", "within": -5}, "within -5 is no number above 0"),
        ({"reach": "at most nan"}, "is no bound"),
        ({"column": "errors_by_class.three"}, "errors_by_class.three is no column of numbers"),
    ],
)
def test_a_claim_that_is_none_is_one_line(change, message):
    with pytest.raises(BadSetting, match=message):
        claim_of(FIGURE | change, RUNS)


def test_a_share_of_the_way_is_of_the_means():
    claim = claim_of({**FIGURE, "than": "alone", "of": "goal", "reach": "at least 0.9"}, [*RUNS, "goal"])
    found = judged(claim, {"student": rows(55, 60), "alone": rows(100, 100), "goal": rows(50, 50)})
    assert found.ours.startswith("0.85 (")  # of 45/50 and 40/50
    assert found.verdict.startswith("short by 0.05")
    found = judged(claim, {"student": rows(80, 80, 80), "alone": rows(100, 100, 100), "goal": rows(60, 99, 101)})
    assert found.verdict == "goal is not shown to be better than alone: there is nothing to have a share of"
    worse = {"student": rows(200, 210, 205), "alone": rows(100, 100, 100), "goal": rows(180, 190, 188)}
    assert judged(claim, worse).verdict == found.verdict  # it went further in the wrong direction
    one = {"student": rows(55), "alone": rows(100), "goal": rows(50)}
    assert judged(claim, one).verdict == "one seed: nothing can be said"


def test_a_share_of_the_way_needs_both_ends():
    with pytest.raises(BadSetting, match="needs `than`"):
        claim_of({**FIGURE, "of": "alone", "reach": "at least 0.9"}, RUNS)


@pytest.mark.parametrize(
    ("errors", "within", "verdict"),
    [
        ((80, 81, 83), 5, "alike within 5, as claimed"),
        ((79, 84, 80), 5, "not decided: neither a difference nor likeness within 5"),  # likeness needs evidence, too
        ((60, 61, 65), 5, "lower (p ="),
        ((90,), 5, "one seed: nothing can be said"),
    ],
)
def test_likeness_is_shown_by_an_interval_within_the_margin(errors, within, verdict):
    claim = claim_of({**COMPARISON, "reach": "alike", "within": within}, RUNS)
    found = judged(claim, {"student": rows(*errors), "alone": rows(80, 81, 82)})
    assert found.verdict.startswith(verdict)


@pytest.mark.parametrize(("node", "others"), [(FIGURE, {}), (COMPARISON, {"alone": (80, 81, 82)})])
def test_seeds_that_failed_are_not_left_out_of_a_verdict(node, others):
    made = {"student": rows(60, 61), **{name: rows(*errors) for name, errors in others.items()}}
    found = judged(claim_of(node, RUNS), made, seeds=3)
    assert (found.seeds, found.verdict) == (2, "not decided: 1 of 3 seeds failed")


def test_rows_of_other_data_are_not_judged():
    found = judged(claim_of(FIGURE, RUNS), {"student": rows(3)}, "fashion_mnist")
    assert found.verdict == "not comparable: it is about fashion_mnist, and rows are of mnist"
    assert judged(claim_of(FIGURE, RUNS), {"student": rows(3)}, "mnist").verdict == "reached"


def test_errors_on_one_class_are_counted():
    claim = claim_of({**FIGURE, "column": "errors_by_class.3", "reach": "at most 5"}, RUNS)
    made = [replace(row, errors_by_class="0=9 3=4 13=8") for row in rows(1, 2)]
    assert judged(claim, {"student": made}).ours == "4 (4 to 4)"
    assert judged(replace(claim, column="errors_by_class.7"), {"student": made}).verdict == "failed: it has no rows"
