"""The faster of two files is found, once."""

import numpy as np
import pytest
from tests.compress.tasks import used

from kdbench.artifact.export import export
from kdbench.evaluation import fastest
from kdbench.evaluation.fastest import FastestHere
from kdbench.storage.store import Store


def test_the_smaller_network_is_faster_and_is_not_asked_twice(digits, tmp_path, monkeypatch):
    quick, slow = (export(used(family, digits), digits.shape) for family in ("mlp", "resnet"))
    images = digits.train.images[:8].numpy().astype(np.float32) / 255
    monkeypatch.setattr(fastest, "SECONDS", 0.05)
    race = FastestHere(images, Store(tmp_path))
    assert race([slow, quick], slow) == 1
    monkeypatch.setattr(FastestHere, "race", lambda *_: pytest.fail("timed again"))
    another = export(used("resnet", digits, seed=1), digits.shape)
    assert race([another, quick], another) == 1  # other numbers, the same graph
