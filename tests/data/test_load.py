import logging
from dataclasses import replace

import pytest

from kdbench.data import load as loading
from kdbench.errors import DataUnavailable
from kdbench.settings.config import DataConfig


def unavailable(root, cache):
    raise DataUnavailable("Nowhere is not on this machine")


@pytest.fixture
def lost(make_config, tmp_path, monkeypatch):
    """A configuration whose data are nowhere, with the embedded digits as fallback."""
    monkeypatch.setattr(loading, "_loaded", {})
    config = make_config()
    nowhere = DataConfig("nowhere", {"_target_": "tests.data.test_load.unavailable"}, tmp_path / "mine", tmp_path)
    return replace(config, data=nowhere, fallback=config.data)


def test_the_fallback_is_announced_and_named_in_the_configuration(lost, digits, caplog):
    with caplog.at_level(logging.WARNING):
        config, splits = loading.load(lost)
    assert config.data.name == "mnist_5k"
    assert splits.fingerprint == digits.fingerprint
    assert "GOING ON WITH mnist_5k" in caplog.text
    assert str(lost.data.root) in caplog.text


def test_a_run_that_fell_back_is_the_same_run_as_one_that_asked_for_the_fallback(lost):
    assert loading.load(lost)[0].hash == replace(lost, data=lost.fallback, fallback=None).hash


def test_without_fallback_the_error_says_what_to_type(lost):
    with pytest.raises(DataUnavailable, match=r"data\.root=FOLDER"):
        loading.load(replace(lost, fallback=None))


def test_a_failure_is_found_once_a_process(lost, monkeypatch):
    strict = replace(lost, fallback=None)
    with pytest.raises(DataUnavailable):
        loading.load(strict)
    monkeypatch.setattr(loading, "find", lambda *_: pytest.fail("the dead network was waited for again"))
    with pytest.raises(DataUnavailable):
        loading.load(strict)


def test_the_files_are_read_once_a_process(lost, monkeypatch):
    first = loading.load(lost)[1]
    monkeypatch.setattr(loading, "find", lambda *_: pytest.fail("read again"))
    assert loading.load(lost)[1] is first
