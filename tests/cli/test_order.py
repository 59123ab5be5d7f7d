"""The order in which runs are handed out: a simulation with known durations."""

import random
from dataclasses import dataclass

import pytest

from kdbench.cli.order import finish, in_order


@dataclass(frozen=True)
class Takes:
    key: str
    seconds: float


def makespan(runs, order, workers):
    free, ends = [0.0] * workers, {}
    for run in order:
        now = min(free)
        free[free.index(now)] = finish(runs[run], now, ends)
    return max(free)


def bound(runs, workers):
    each = {one.key: one.seconds for run in runs for one in run}
    return max(sum(each.values()) / workers, max(sum(one.seconds for one in run) for run in runs))


def test_what_others_wait_for_is_begun_first_and_then_the_longest():
    teacher = Takes("teacher", 5)
    runs = [[Takes("short", 1)], [Takes("long", 8)], [teacher, Takes("student", 7)], [teacher]]
    assert in_order(runs, 2) == [2, 1, 3, 0]


def test_nobody_waits_for_a_training_while_there_is_something_else_to_do():
    shared = Takes("shared", 10)
    runs = [[shared, Takes(f"after {number}", 1)] for number in range(3)] + [[Takes("other", 9)]]
    order = in_order(runs, 2)
    assert order[1] == 3
    assert makespan(runs, order, 2) == 12  # 10 for the shared one, then three of a second each on two workers


def test_every_run_is_begun_once_also_one_that_trains_nothing():
    assert in_order([], 4) == []
    assert sorted(in_order([[], [Takes("a", 1)], []], 2)) == [0, 1, 2]


@pytest.mark.parametrize("workers", [1, 2, 7, 64])
def test_it_comes_close_to_what_no_order_can_be_faster_than(workers):
    drawn = random.Random(workers)
    runs = []
    for network in range(40):
        plain = Takes(f"plain {network}", drawn.lognormvariate(3, 1.2))
        runs += [[plain], [plain, Takes(f"pruned {network}", plain.seconds / 4)], [plain]]
        runs.append([Takes(f"plain {network // 4 * 4}", runs[network // 4 * 16][0].seconds), Takes(f"t{network}", 9)])
    drawn.shuffle(runs)
    order = in_order(runs, workers)
    assert sorted(order) == list(range(len(runs)))
    assert makespan(runs, order, workers) <= 1.15 * bound(runs, workers)
    one_after_the_other = makespan(runs, range(len(runs)), workers)
    assert makespan(runs, order, workers) <= 1.001 * one_after_the_other
