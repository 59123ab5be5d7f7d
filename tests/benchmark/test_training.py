from dataclasses import replace

import pytest
import torch
from benchmark.training import Track
from tests.conftest import mlp

from benchmark import training
from kdbench.models.network import Normalise
from kdbench.training.spent import Spent


@pytest.fixture
def track(few, machine) -> Track:
    networks = {"student": mlp(widths=[4], epochs=10), "teacher": mlp(widths=[8])}
    return Track(networks, replace(few, train=few.train[:128], val=few.val[:20]), machine, rounds=1)


def test_both_ways_train_the_same_network_and_only_the_transforms_differ(track):
    ours, theirs = track.network("student"), track.bare("student")
    assert isinstance(ours[0], Normalise)
    assert repr(theirs) == repr(ours[1])
    assert all(torch.equal(tensor, ours[1].state_dict()[name]) for name, tensor in theirs.state_dict().items())


def test_an_epoch_is_one_of_the_networks_own_recipe(track, monkeypatch):
    asked = []
    monkeypatch.setattr(training, "fit", lambda learner, train, val, recipe, machine: asked.append((train, recipe)))
    track.epoch(track.network("student"), "student", 2)
    [(train, recipe)] = asked
    assert train is track.splits.train
    assert recipe == replace(track.networks["student"].recipe, epochs=1, shift=2)


def test_a_race_of_training_has_a_share_of_the_ceiling_only_where_there_are_convolutions(track):
    result = training.train(track, "student")
    assert (len(result.ours), len(result.theirs), result.note) == (1, 1, "")


@pytest.mark.parametrize(("shift", "once"), [(0, "once in 10 epochs"), (1, "in every epoch")])
def test_the_logits_of_the_teacher_are_made_once_and_counted_over_the_epochs(track, monkeypatch, shift, once):
    """A teacher that takes 50 seconds: unshifted, five of them belong to each of the ten epochs."""
    made = []
    logits_of = training.Teacher.logits_of

    def slow(self, views, number):
        made.append(number)
        return logits_of(self, views, number)[0], Spent(50.0)

    monkeypatch.setattr(training.Teacher, "logits_of", slow)
    monkeypatch.setattr(training, "timed", lambda work: (work(), 1.0)[1])
    result = training.distill(track, "student", "teacher", shift)
    assert made == [1 if shift else 0]
    assert result.note == f"logits of teacher: 50.00 s, {once}"
    assert result.ours == pytest.approx([1.0 if shift else 1.0 - 50 + 5])
