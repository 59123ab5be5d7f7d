import time
from dataclasses import replace

import pytest
import torch

from kdbench.errors import NotFinite
from kdbench.models.mlp import MLP
from kdbench.training import together as meeting
from kdbench.training.fit import label_loss
from kdbench.training.together import Seat, meet


@pytest.fixture
def sizes(monkeypatch) -> list[int]:
    """How many networks each training was of."""
    seen = []
    real = meeting.fit_all
    monkeypatch.setattr(
        meeting, "fit_all", lambda learners, *rest: seen.append(len(learners)) or real(learners, *rest)
    )
    return seen


@pytest.fixture
def train(few, recipe, machine):
    """Return a function that trains one small network from its seat."""

    def train(seat: Seat, width: int = 4, epochs: int = 1, **options):
        return seat.fit(MLP([width]), few.train, few.val, replace(recipe, epochs=epochs), machine, 0, **options)

    return train


def test_jobs_that_want_the_same_train_at_once_time_after_time(train, sizes):
    def job(seat: Seat) -> None:
        assert len(train(seat, epochs=2)) == 2
        train(seat)

    assert meet([job] * 3) == [None] * 3
    assert sizes == [3, 3]


def test_other_networks_and_other_settings_train_alone(train, sizes):
    jobs = [
        lambda seat, width=width, epochs=epochs: train(seat, width, epochs)
        for width, epochs in [(4, 1), (5, 1), (4, 2)]
    ]
    assert meet(jobs) == [None] * 3
    assert sizes == [1, 1, 1]


def test_a_job_that_needs_less_does_not_hold_up_the_others(train, sizes):
    def twice(seat: Seat) -> None:
        train(seat)
        train(seat)

    assert meet([train, twice, lambda seat: None]) == [None] * 3
    assert sizes == [2, 1]


def test_what_goes_wrong_is_raised_in_the_job_and_told_to_the_caller(train):
    caught = []

    def diverging(seat: Seat) -> None:
        try:
            train(seat, loss=lambda logits, batch: label_loss(logits, batch) * float("nan"))
        except NotFinite as error:
            caught.append(error)
            raise

    def broken(seat: Seat) -> None:
        raise ValueError("a mistake")

    first, second, third = meet([diverging, train, broken])
    assert [first] == caught
    assert second is None
    assert str(third) == "a mistake"


def test_only_one_job_runs_at_a_time_and_each_keeps_its_own_clock(train):
    running, clocks = [], []

    def job(seat: Seat) -> None:
        began = seat.clock()
        for _ in range(2):
            running.append(1)
            torch.manual_seed(0)
            time.sleep(0.05)
            assert len(running) == 1
            running.pop()
            train(seat)
        clocks.append(seat.clock() - began)

    began = time.perf_counter()
    assert meet([job] * 3) == [None] * 3
    wall = time.perf_counter() - began
    assert sum(clocks) == pytest.approx(wall, rel=0.1)
    assert all(0.1 < clock < 0.6 * wall for clock in clocks)
