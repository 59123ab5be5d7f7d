import copy

import numpy as np
import pytest
import torch

from kdbench.artifact.export import export
from kdbench.artifact.file import Artifact
from kdbench.artifact.session import session
from kdbench.compress.quantize.dynamic_int8 import DynamicInt8
from kdbench.data.splits import Split
from kdbench.evaluation import predictions
from kdbench.evaluation.predictions import Predictions, pixels, predict
from kdbench.models.cnn import CNN

COLOURS = ((3, 32, 32), 7)


@pytest.fixture(scope="module")
def many() -> Split:
    """300 images of another shape: two batches, the last one smaller."""
    images = torch.randint(256, (300, *COLOURS[0]), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return Split(images, torch.arange(300) % COLOURS[1])


@pytest.fixture(scope="module")
def network() -> CNN:
    torch.manual_seed(0)
    return CNN([4], 1, "average", *COLOURS).eval()


@pytest.fixture(scope="module")
def file(network) -> Artifact:
    return Artifact(export(network, COLOURS[0]))


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


def test_pixels_are_what_a_network_is_trained_on(many):
    assert np.array_equal(pixels(many.images), (many.images.float() / 255).numpy())


def test_predictions_are_the_networks_own_whatever_shape_and_classes(many, network, file):
    found = predict(session(file.content, 1), many)
    with torch.no_grad():
        expected = network(many.images.float() / 255).numpy()
    assert found.shape == (300, 7)
    assert found.dtype == np.float64
    assert np.allclose(found, expected, atol=1e-4)


def test_workers_give_the_logits_of_one_to_the_last_bit(many, file):
    quantized = Artifact(DynamicInt8()(file.file, None))
    run = session(quantized.content, 1)
    assert np.array_equal(predict(run, many, 2), predict(run, many))


def test_a_file_runs_once_for_each_data_set(many, file, monkeypatch):
    runs = []
    monkeypatch.setattr(
        predictions, "session", lambda content, threads: lambda images: runs.append(1) or images[:, 0, 0]
    )
    twin = Artifact(copy.deepcopy(file.file))
    known = Predictions()
    first = known.of(file, many, "these", 1)
    once = len(runs)
    assert np.array_equal(known.of(twin, many, "these", 1), first)
    assert len(runs) == once
    known.of(file, many, "others", 1)
    assert len(runs) == 2 * once
