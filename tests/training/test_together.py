import time
from dataclasses import replace

import pytest
import torch
from tests.training.methods import Hint, Scaled, built, mlp_of

from kdbench.errors import NotFinite
from kdbench.training import together
from kdbench.training.criteria import Criterion, cross_entropy
from kdbench.training.learner import Learner
from kdbench.training.together import Lane, train_together


@pytest.fixture
def sizes(monkeypatch) -> list[int]:
    """How many networks each training was of."""
    seen = []
    real = together.fit_all
    monkeypatch.setattr(
        together, "fit_all", lambda learners, *rest: seen.append(len(learners)) or real(learners, *rest)
    )
    return seen


@pytest.fixture
def train(few, recipe, machine):
    """Return a function that trains one small network in its lane."""

    def train(lane: Lane, width: int = 4, epochs: int = 1, until: int | None = None, **options):
        learner = Learner(mlp_of([width]), 0, **options)
        return lane.fit(learner, few.train, few.val, replace(recipe, epochs=epochs), machine, until)

    return train


def test_jobs_that_want_the_same_train_at_once_time_after_time(train, sizes):
    def job(lane: Lane) -> None:
        assert len(train(lane, epochs=2)) == 2
        train(lane)

    assert train_together([job] * 3) == [None] * 3
    assert sizes == [3, 3]


def test_other_networks_and_other_settings_train_alone(train, sizes):
    jobs = [
        lambda lane, width=width, epochs=epochs, until=until: train(lane, width, epochs, until)
        for width, epochs, until in [(4, 1, None), (5, 1, None), (4, 2, None), (4, 2, 1)]
    ]
    assert train_together(jobs) == [None] * 4
    assert sizes == [1, 1, 1, 1]


class Prepares(Criterion):
    def prepare(self, batch, network):
        with torch.no_grad():
            network(batch.images)  # which needs a network of its own
        return batch

    def __call__(self, output, batch):
        return cross_entropy(output.logits, batch.labels)


@pytest.mark.parametrize("criterion", [lambda: Hint(4), Prepares])
def test_what_reads_or_trains_more_than_logits_trains_alone(train, sizes, criterion):
    own = [criterion() for _ in range(2)]
    jobs = [lambda lane, one=one: train(lane, criterion=one) for one in own]
    assert train_together([*jobs, train, train]) == [None] * 4
    assert sorted(sizes) == [1, 1, 2]


def test_other_images_of_another_job_train_alone(few, recipe, machine, sizes, train):
    def other(lane: Lane) -> None:
        lane.fit(Learner(mlp_of([4]), 0), few.train[:200], few.val, replace(recipe, epochs=1), machine)

    assert train_together([train, other]) == [None] * 2
    assert sizes == [1, 1]


def test_a_job_that_needs_less_does_not_hold_up_the_others(train, sizes):
    def twice(lane: Lane) -> None:
        train(lane)
        train(lane)

    assert train_together([train, twice, lambda lane: None]) == [None] * 3
    assert sizes == [2, 1]


def test_what_goes_wrong_is_raised_in_the_job_and_told_to_the_caller(train):
    caught = []

    def diverging(lane: Lane) -> None:
        try:
            train(lane, criterion=Scaled(float("nan")))
        except NotFinite as error:
            caught.append(error)
            raise

    def broken(lane: Lane) -> None:
        raise ValueError("a mistake")

    first, second, third = train_together([diverging, train, broken])
    assert [first] == caught
    assert second is None
    assert str(third) == "a mistake"


def test_only_one_job_runs_at_a_time_and_each_keeps_its_own_clock(train):
    running, clocks = [], []

    def job(lane: Lane) -> None:
        began = lane.clock()
        for _ in range(2):
            running.append(1)
            torch.manual_seed(0)
            time.sleep(0.05)
            assert len(running) == 1
            running.pop()
            train(lane)
        clocks.append(lane.clock() - began)

    began = time.perf_counter()
    assert train_together([job] * 3) == [None] * 3
    wall = time.perf_counter() - began
    assert sum(clock.seconds for clock in clocks) == pytest.approx(wall, rel=0.1)
    assert all(0.1 < clock.seconds < 0.6 * wall for clock in clocks)
    assert all(clock.cpu_seconds > 0 for clock in clocks)


def test_networks_for_images_of_another_shape_train_at_once(colours, recipe, machine, sizes):
    models = [built("cnn", colours, seed) for seed in range(2)]

    def job(seed: int):
        learner = Learner(models[seed], seed)
        return lambda lane: lane.fit(learner, colours.train, colours.val, replace(recipe, epochs=1), machine)

    assert train_together([job(seed) for seed in range(2)]) == [None] * 2
    assert sizes == [2]
    assert not torch.equal(models[0][1][0].weight, models[1][1][0].weight)
