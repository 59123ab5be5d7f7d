import json

import numpy as np
import onnx
import pytest
import torch
from tests.models.test_models import COLOURS, built, some

from kdbench.artifact import metadata
from kdbench.artifact import ship as shipping
from kdbench.artifact.export import bare, export
from kdbench.artifact.names import by_position
from kdbench.artifact.session import session
from kdbench.artifact.ship import exported, ship
from kdbench.compress.quantize.dynamic_int8 import DynamicInt8
from kdbench.compress.step import Examples, FileStep, Task, no_fit
from kdbench.models.onnx_graph import load
from kdbench.networks.compared import Compared
from kdbench.storage.store import Store
from kdbench.training.once import Trained

TRAINED = Trained(built("mlp_simple", data=COLOURS).eval(), "a" * 32)


@pytest.fixture
def trained() -> Trained:
    return TRAINED


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """One for all, since to export takes seconds; it holds the file of `TRAINED`."""
    store = Store(tmp_path_factory.mktemp("outputs") / "store")
    exported(TRAINED, COLOURS[0], store)
    return store


@pytest.fixture
def examples(colours) -> Examples:
    return Examples(colours.train, colours.val, colours.class_names)


def test_the_file_of_a_network_is_exported_once_and_read_back_bit_for_bit(trained, store, monkeypatch):
    first = export(trained.network, COLOURS[0])
    monkeypatch.setattr(shipping, "export", lambda *_: pytest.fail("exported again"))
    again = exported(trained, COLOURS[0], Store(store.folder))
    assert again.SerializeToString(deterministic=True) == first.SerializeToString(deterministic=True)


def test_files_of_other_networks_and_shapes_are_other_entries(trained, store, monkeypatch):
    asked = []

    def numbered(network, shape):
        asked.append(shape)
        return onnx.ModelProto(producer_name=str(len(asked)))

    monkeypatch.setattr(shipping, "export", numbered)
    keys = ("c" * 32, "d" * 32)
    found = [
        exported(Trained(trained.network, key), shape, store) for key in keys for shape in ((3, 32, 32), (1, 8, 8))
    ]
    assert len({file.producer_name for file in found}) == 4


def test_another_version_of_the_exporter_exports_again(trained, store, monkeypatch):
    monkeypatch.setattr(shipping, "version", lambda package: "0.0.1")
    monkeypatch.setattr(shipping, "export", lambda *given: onnx.ModelProto(producer_name="another"))
    assert exported(trained, COLOURS[0], store).producer_name == "another"


def task_of(examples, seed):
    return Task(examples, (), no_fit, seed, torch.nn.Identity())


def test_what_ships_went_through_the_steps_and_the_others_did_not(trained, store, examples):
    teacher = Trained(built("mlp_simple", seed=1, data=COLOURS).eval(), "b" * 32)
    artifacts = ship(Compared(trained, trained, (teacher, teacher)), [DynamicInt8()], task_of(examples, 0), store)
    assert artifacts.shipped.size_bytes < artifacts.baseline.size_bytes / 2
    assert bare(artifacts.baseline.file) == bare(by_position(exported(trained, COLOURS[0], store)))
    assert [bare(file.file) for file in artifacts.teachers] == [
        bare(by_position(exported(teacher, COLOURS[0], store)))
    ] * 2


def test_every_file_says_what_data_it_is_for_after_all_steps(trained, store, examples):
    artifacts = ship(Compared(trained, trained, (trained,)), [DynamicInt8()], task_of(examples, 0), store)
    means = trained.network[0].mean.flatten().tolist()
    expected = metadata.Description.of(examples.train.images.numpy(), tuple("abcdefg"))
    for artifact in (artifacts.shipped, artifacts.baseline, *artifacts.teachers):
        assert metadata.read(artifact.file, 7) == expected
        [text] = [entry.value for entry in artifact.file.metadata_props if entry.key == "kdbench.normalisation"]
        assert json.loads(text)["means"] == pytest.approx(means, rel=1e-5)
        assert load(artifact.content) == artifact.file


def test_without_steps_the_file_is_that_of_the_network(trained, store, examples):
    artifacts = ship(Compared(trained, trained), [], task_of(examples, 0), store)
    images = some(5, COLOURS)
    with torch.no_grad():
        expected = trained.network(images).numpy()
    assert artifacts.teachers == ()
    assert artifacts.shipped.content == artifacts.baseline.content
    assert np.allclose(session(artifacts.shipped.content, 1)(images.numpy()), expected, atol=1e-4)


class Calibrated(FileStep):
    """Looks at what a step is given."""

    def __call__(self, file, task):
        images = task.data.to_calibrate(8)
        file.producer_name = f"{tuple(images.shape)} {float(images.max()) <= 1} {task.data.classes} {task.seed}"
        return file


def test_a_step_is_given_images_to_calibrate_with_and_may_not_train(trained, store, examples):
    artifacts = ship(Compared(trained, trained), [Calibrated()], task_of(examples, 3), store)
    assert artifacts.shipped.file.producer_name == "(8, 3, 32, 32) True 7 3"
    assert artifacts.baseline.file.producer_name != artifacts.shipped.file.producer_name  # though it worked in place

    class Trains(FileStep):
        def __call__(self, file, task):
            task.fit(trained.network)

    with pytest.raises(TypeError, match="make it a NetworkStep"):
        ship(Compared(trained, trained), [Trains()], task_of(examples, 0), store)
