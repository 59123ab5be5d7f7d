import pytest
from benchmark.race import Race, race, spread


def test_the_two_run_in_turn_and_the_ratio_is_of_medians():
    order = []
    ours, theirs = iter([1.0, 5.0, 2.0]), iter([6.0, 4.0, 8.0])

    def run(name, times):
        order.append(name)
        return next(times)

    result = race("it", lambda: run("A", ours), lambda: run("B", theirs), 3)
    assert order == ["A", "B"] * 3
    assert result.ratio == pytest.approx(6 / 2)


def test_a_line_shows_median_and_range_of_both():
    line = Race("train it", [1.0, 5.0, 2.0], [6.0, 4.0, 8.0], "a note").line()
    assert line.split() == [
        "train",
        "it",
        "2.00",
        "s",
        "(1.00-5.00)",
        "6.00",
        "s",
        "(4.00-8.00)",
        "3.00x",
        "a",
        "note",
    ]
    assert spread([1.5]) == "1.50 s"
