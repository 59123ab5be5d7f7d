import logging
from dataclasses import replace

import pytest
from tests.conftest import mlp

from kdbench.data import load as loading
from kdbench.data import suitable
from kdbench.errors import BadSetting, DamagedFile, DataUnavailable
from kdbench.settings.network import DataSpec


def unavailable(root, cache):
    raise DataUnavailable("Nowhere is not on this machine")


def damaged(root, cache):
    raise DamagedFile(f"{root}/images is truncated")


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch):
    monkeypatch.setattr(loading, "_loaded", {})


@pytest.fixture
def lost(tmp_path) -> DataSpec:
    """Data that are nowhere."""
    return DataSpec("nowhere", {"_target_": "tests.data.test_load.unavailable"}, None, tmp_path)


@pytest.fixture
def embedded(tmp_path) -> DataSpec:
    return DataSpec("mnist_5k", {"_target_": "kdbench.data.mnist_5k.load"}, None, tmp_path)


def test_the_fallback_is_announced_and_named(lost, embedded, digits, caplog):
    with caplog.at_level(logging.WARNING):
        used, splits = loading.load(lost, embedded)
    assert used.name == "mnist_5k"
    assert splits.fingerprint == digits.fingerprint
    assert "GOING ON WITH mnist_5k" in caplog.text


def test_what_was_used_bears_the_fingerprint_of_its_images(embedded, digits):
    assert loading.load(embedded)[0].fingerprint == digits.fingerprint


def test_a_run_that_fell_back_is_the_same_run_as_one_that_asked_for_the_fallback(lost, embedded, make_config):
    fell_back = make_config(data=loading.load(lost, embedded)[0])
    asked = make_config(data=loading.load(embedded)[0])
    assert fell_back.hash == asked.hash


def test_without_fallback_the_error_names_the_setting(lost):
    with pytest.raises(DataUnavailable, match=r"not on this machine; name a folder .*data\.root=FOLDER"):
        loading.load(lost)


def test_a_folder_that_was_typed_is_never_fallen_back_from(lost, embedded, tmp_path):
    with pytest.raises(DataUnavailable, match=r"^Nowhere is not on this machine$"):
        loading.load(replace(lost, root=tmp_path), embedded)
    with pytest.raises(BadSetting, match=r"leave out data\.root"):
        loading.load(replace(embedded, root=tmp_path))


def test_damaged_files_are_no_reason_to_fall_back(lost, embedded):
    with pytest.raises(DamagedFile, match="truncated"):
        loading.load(replace(lost, loader={"_target_": "tests.data.test_load.damaged"}), embedded)


@pytest.mark.parametrize("kind", ["unavailable", "damaged"])
def test_a_failure_is_found_once_a_process(lost, monkeypatch, kind):
    asked = replace(lost, loader={"_target_": f"tests.data.test_load.{kind}"})
    for _ in range(2):
        with pytest.raises((DataUnavailable, DamagedFile)):
            loading.load(asked)
        monkeypatch.setattr(loading, "find", lambda *_: pytest.fail("the dead network was waited for again"))


def test_a_run_needs_more_images_than_a_batch_and_data_that_it_can_be_about(embedded, monkeypatch):
    assert loading.load_for(mlp(batch_size=3500), embedded, None)[1].classes == 10
    with pytest.raises(BadSetting, match=r"train\.batch_size=3501: there are only 3500 training images"):
        loading.load_for(mlp(batch_size=3501), embedded, None)
    monkeypatch.setattr(suitable, "MAX_CLASSES", 9)
    with pytest.raises(BadSetting, match="data=mnist_5k has 10 classes"):
        loading.load_for(mlp(), embedded, None)
    loading.load(embedded)  # which as a transfer set may be used


def test_the_files_are_read_once_a_process(embedded, monkeypatch):
    first = loading.load(embedded)[1]
    monkeypatch.setattr(loading, "find", lambda *_: pytest.fail("read again"))
    assert loading.load(embedded)[1] is first


def test_a_new_command_looks_for_files_again(lost, monkeypatch):
    with pytest.raises(DataUnavailable):
        loading.load(lost)
    monkeypatch.setattr(loading, "find", lambda *_: pytest.fail("looked for again"))
    with pytest.raises(DataUnavailable):
        loading.load(lost)
    loading.forget()
    with pytest.raises(pytest.fail.Exception):
        loading.load(lost)


def test_data_whose_fingerprint_is_known_already_are_not_read_again(tmp_path):
    spec = DataSpec("mnist_5k", {"_target_": "kdbench.data.mnist_5k.load"}, None, tmp_path)
    known, splits = loading.load(spec)
    assert known.fingerprint == splits.fingerprint
    assert loading.load(known)[1] is splits
