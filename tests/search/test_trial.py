from dataclasses import replace

import pytest

from kdbench.data.splits import Split
from kdbench.errors import BadSetting
from kdbench.search import trial
from kdbench.search.plan import TooLarge
from kdbench.search.space import Place
from kdbench.settings.typed import config_of

TINY = {
    "data": "mnist_5k",
    "model": "mlp_simple",
    "model.widths": [16],
    "train.epochs": 2,
    "train.batch_size": 128,
    "threads": 1,
}


@pytest.fixture
def tiny(tmp_path):
    return TINY | {"outputs": str(tmp_path / "outputs")}


def watched(settings, columns=("val_accuracy",), limits=None):
    epochs = []
    return trial.measured(config_of(settings), columns, limits or {}, epochs.append), epochs


def test_validation_alone_is_read(tiny, monkeypatch):
    read = []

    class Unreadable(Split):
        """A test split: whoever looks at its images is found out."""

        def __getattribute__(self, name):
            if name == "images":
                read.append(name)
            return super().__getattribute__(name)

    real = trial.load_for

    def with_unreadable_test(*arguments):
        data, splits = real(*arguments)
        replaced = replace(splits, test=Unreadable(splits.test.images, splits.test.labels))
        replaced.__dict__["fingerprint"] = splits.fingerprint  # over all images, those of the test among them
        read.clear()
        return data, replaced

    monkeypatch.setattr(trial, "load_for", with_unreadable_test)
    found, epochs = watched(tiny, ["val_accuracy", "size_bytes", "macs", "parameters"])
    assert [epoch.epoch for epoch in epochs] == [1, 2]
    assert found["val_accuracy"] == pytest.approx(epochs[-1].val_accuracy, abs=0.004)  # by the file, in float32
    assert found["parameters"] == 784 * 16 + 16 + 16 * 10 + 10
    assert found["macs"] == 784 * 16 + 16 * 10
    assert read == []


def test_the_file_is_measured_and_not_the_network(tiny):
    plain, _ = watched(tiny, ["size_bytes"])
    quantized, _ = watched(tiny | {"compress": "quantize"}, ["size_bytes"])
    assert quantized["size_bytes"] < 0.5 * plain["size_bytes"]


def test_what_is_too_large_is_not_trained(tiny):
    with pytest.raises(TooLarge, match=r"size_bytes is 5\d,\d+, and 20,000 at most"):
        watched(tiny, limits={"size_bytes": 20000})
    assert not list((config_of(tiny).outputs / "store").glob("*/record.json")) or not any(
        "baseline" in path.read_text() for path in (config_of(tiny).outputs / "store").glob("*/record.json")
    )


def test_who_watches_can_end_the_training(tiny):
    class EnoughError(Exception):
        pass

    def enough(epoch):
        raise EnoughError(f"after {epoch.epoch}")

    with pytest.raises(EnoughError, match="after 1"):
        trial.measured(config_of(tiny), ["val_accuracy"], {}, enough)


def test_epochs_of_teachers_are_not_reported(tiny):
    settings = tiny | {"compress": "distill", "compress.teacher": "mlp_simple", "teacher_train.epochs": 3}
    _, epochs = watched(settings)
    assert [epoch.epoch for epoch in epochs] == [1, 2]


def test_layers_are_named_by_how_far_they_lie(tiny):
    hints = tiny | {"compress": "hints", "compress.teacher": "cnn_simple"}
    drawn = hints | {"compress.student_layer": Place(0.0, "student"), "compress.teacher_layer": Place(1.0, "teacher")}
    flat = trial.settled(drawn)
    first = trial.settled(hints | {"compress.teacher_layer": Place(0.0, "teacher")})
    assert flat["compress.student_layer"] == "2"  # the first that has weights, after its ReLU
    assert int(flat["compress.teacher_layer"]) > int(first["compress.teacher_layer"])
    config_of(flat)  # it can be typed


def test_a_layer_of_no_teacher_is_refused(tiny):
    with pytest.raises(BadSetting, match="there is no teacher"):
        trial.settled(tiny | {"compress.teacher_layer": Place(0.5, "teacher")})
