"""The faster of two files is found, once, and not by a measurement that was disturbed."""

import numpy as np
import pytest
from tests.compress.tasks import used

from kdbench.artifact.export import export
from kdbench.evaluation import fastest, speed
from kdbench.evaluation.fastest import FastestHere
from kdbench.evaluation.passes import Pass
from kdbench.storage.store import Store


@pytest.fixture
def here(digits, tmp_path):
    return FastestHere(digits.train.images[:8].numpy().astype(np.float32) / 255, Store(tmp_path))


def test_the_smaller_network_is_faster_and_is_not_asked_twice(digits, here, monkeypatch):
    quick, slow = (export(used(family, digits), digits.shape) for family in ("mlp", "resnet"))
    assert here([slow, quick], slow) == 1
    monkeypatch.setattr(FastestHere, "race", lambda *_: pytest.fail("timed again"))
    another = export(used("resnet", digits, seed=1), digits.shape)
    assert here([another, quick], another) == 1  # other numbers, the same graph


def test_what_was_disturbed_is_tried_again_and_never_kept(digits, here, monkeypatch):
    file, asked = export(used("mlp", digits), digits.shape), []
    monkeypatch.setattr(speed, "LEAST_SHARE", 0.9)
    monkeypatch.setattr(speed, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(FastestHere, "race", lambda *_: (1, asked.append(1) or 0.5))
    assert here([file, file], file) == 1
    assert len(asked) == speed.TRIES
    monkeypatch.setattr(FastestHere, "race", lambda *_: (0, 0.95))
    assert [here([file, file], file) for _ in range(2)] == [0, 0]
    monkeypatch.setattr(FastestHere, "race", lambda *_: (1, 0.95))
    assert here([file, file], file) == 0


@pytest.mark.parametrize(("rates", "number"), [([100, 101, 90], 0), ([100, 103, 104], 1), ([100, 103, 120], 2)])
def test_a_form_has_to_be_clearly_faster_than_those_before_it(digits, here, monkeypatch, rates, number):
    turns = [[Pass(np.ones(1), rate, 1.0, 1.0) for rate in (*rates, 100)]] * 3
    monkeypatch.setattr(fastest.speed, "in_turn", lambda *_: turns)
    file = export(used("mlp", digits), digits.shape).SerializeToString()
    assert here.race([file] * 4) == (number, 1.0)
