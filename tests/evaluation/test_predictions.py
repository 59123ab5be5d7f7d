import copy

import numpy as np
import pytest
import torch

from kdbench.artifact.export import export
from kdbench.artifact.file import Artifact
from kdbench.artifact.session import session
from kdbench.compress.quantize.dynamic_int8 import DynamicInt8
from kdbench.evaluation import predictions
from kdbench.evaluation.predictions import Predictions, pixels, predict
from kdbench.models.cnn import CNN


@pytest.mark.parametrize("workers", [1, 3])
def test_every_image_is_predicted_once_in_order(digits, workers):
    seen = []

    def session(images: np.ndarray) -> np.ndarray:
        seen.append(len(images))
        return images.reshape(len(images), -1)[:, 300:310]

    found = predict(session, digits.test, workers)
    assert sorted(seen) == [232, 256, 256, 256]
    assert np.array_equal(found, pixels(digits.test.images).reshape(1000, -1)[:, 300:310])


def test_pixels_lie_between_zero_and_one(digits):
    shown = pixels(digits.test.images)
    assert (shown.dtype, shown.min(), shown.max()) == (np.float32, 0.0, 1.0)


def test_workers_give_the_logits_of_one_to_the_last_bit(digits):
    torch.manual_seed(0)
    file = Artifact(DynamicInt8()(export(CNN([4], 1, "average").eval())))
    run = session(file.content, 1)
    assert np.array_equal(predict(run, digits.test, 2), predict(run, digits.test))


def test_a_file_runs_once_for_each_data_set(digits, monkeypatch):
    runs = []
    monkeypatch.setattr(
        predictions, "session", lambda content, threads: lambda images: runs.append(1) or images[:, 0, 0]
    )
    network = CNN([2], 1, "average").eval()
    file, twin = Artifact(export(network)), Artifact(export(copy.deepcopy(network)))
    known = Predictions()
    first = known.of(file, digits.test, "digits", 1)
    once = len(runs)
    assert np.array_equal(known.of(twin, digits.test, "digits", 1), first)
    assert len(runs) == once
    known.of(file, digits.test, "others", 1)
    assert len(runs) == 2 * once
