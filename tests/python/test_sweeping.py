"""A run for each combination, from Python."""

from types import SimpleNamespace

import pytest
from tests.conftest import make_row

import kdbench
from kdbench.errors import CannotWrite, KdbenchError, NotFinite
from kdbench.python import running, sweeping
from kdbench.settings.typed import config_of

SETTINGS = {"model": ["mlp_simple", "cnn_simple"], "compress": "baseline", "seed": range(2)}


@pytest.fixture
def runs(monkeypatch, tmp_path):
    """The runs that are asked for, in the place of doing them: name, seed, and the seeds of its variant."""
    asked = []

    def run(config, seeds, progress):
        name, seed = config.network.name, config.network.seed
        asked.append((name, seed, list(seeds)))
        outcome = runs.outcomes.get((name, seed))
        if outcome is not None:
            raise outcome
        latency = None if asked.count(asked[-1]) <= runs.disturbed else 0.1
        return SimpleNamespace(
            row=make_row(model=name, seed=seed, latency_ms=latency), folder=tmp_path / f"{name}-{seed}"
        )

    runs = SimpleNamespace(asked=asked, outcomes={}, disturbed=0)
    monkeypatch.setattr(running, "run", run)
    monkeypatch.setattr(sweeping, "config_of", composed)
    return runs


def composed(flat, own):
    """What is looked at here of a configuration: to compose one takes a good part of a second."""
    return SimpleNamespace(network=SimpleNamespace(name=flat["model"], seed=flat.get("seed", 0)))


def test_every_combination_is_run_with_the_seeds_of_its_variant_and_gives_a_line(runs, tmp_path):
    table = kdbench.sweep(**SETTINGS)
    assert runs.asked == [(name, seed, [0, 1]) for name in ("mlp_simple", "cnn_simple") for seed in (0, 1)]
    assert list(zip(table["model"], table["seed"], strict=True)) == [run[:2] for run in runs.asked]
    assert table["folder"][0] == str(tmp_path / "mlp_simple-0")


def test_seeds_are_those_that_were_typed_as_on_the_command_line(runs):
    kdbench.sweep(model="mlp_simple", compress="baseline")
    kdbench.sweep(model="mlp_simple", compress="baseline", seed=3)
    assert runs.asked == [("mlp_simple", 0, []), ("mlp_simple", 3, [3])]


def test_a_run_that_fails_stops_no_other_and_is_named_at_the_end(runs):
    runs.outcomes = {("mlp_simple", 1): NotFinite("it diverged"), ("cnn_simple", 0): TypeError("a bug\nof two lines")}
    with pytest.raises(KdbenchError) as failed:
        kdbench.sweep(**SETTINGS)
    assert str(failed.value) == (
        "2 of 4 runs failed: model=mlp_simple seed=1: it diverged; model=cnn_simple seed=0: TypeError: a bug of two "
        "lines (the rows of the others are kept: errors='skip' returns them)"
    )
    assert isinstance(failed.value.__cause__, NotFinite)
    assert len(runs.asked) == 4
    assert len(kdbench.sweep(**SETTINGS, errors="skip")) == 2


def test_settings_that_are_impossible_in_one_run_stop_no_other(runs, monkeypatch):
    monkeypatch.setattr(sweeping, "config_of", config_of)
    with pytest.raises(KdbenchError, match=r"^1 of 2 runs failed: train.lr=-1: train.lr=-1.0 is out of range"):
        kdbench.sweep(model="mlp_simple", compress="baseline", train={"lr": [0.1, -1]})
    assert len(runs.asked) == 1


def test_settings_that_are_impossible_in_all_are_refused_at_once(runs, monkeypatch):
    monkeypatch.setattr(sweeping, "config_of", config_of)
    with pytest.raises(KdbenchError, match="modle is not a setting"):
        kdbench.sweep(modle="mlp_simple")
    assert runs.asked == []


def test_runs_that_others_disturbed_are_timed_once_more_at_the_end(runs):
    runs.disturbed = 1
    table = kdbench.sweep(**SETTINGS)
    assert [run[:2] for run in runs.asked] == [(name, s) for name in ("mlp_simple", "cnn_simple") for s in (0, 1)] * 2
    assert table["latency_ms"].notna().all()
    runs.disturbed = 10
    assert kdbench.sweep(**SETTINGS)["latency_ms"].isna().all()


def test_a_full_disk_ends_it(runs):
    runs.outcomes = {("mlp_simple", 1): CannotWrite("the disk is full")}
    with pytest.raises(CannotWrite, match="the disk is full"):
        kdbench.sweep(**SETTINGS)
    assert len(runs.asked) == 2


def test_an_interrupt_passes(runs):
    runs.outcomes = {("mlp_simple", 0): KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        kdbench.sweep(**SETTINGS)
    assert len(runs.asked) == 1


def test_where_all_fail_there_is_an_empty_frame_with_all_columns(runs):
    runs.outcomes = {("mlp_simple", 0): NotFinite("it diverged")}
    table = kdbench.sweep(model="mlp_simple", compress="baseline", errors="skip")
    assert len(table) == 0
    assert {"accuracy", "folder"} <= set(table)
    with pytest.raises(KdbenchError, match="errors='ignore' is neither 'raise' nor 'skip'"):
        kdbench.sweep(errors="ignore")


def test_a_sweep_reads_the_data_anew_and_once(runs, monkeypatch):
    read = []
    monkeypatch.setattr(running, "forget", lambda: read.append(len(runs.asked)))
    kdbench.sweep(**SETTINGS)
    assert read == [0]
    assert len(runs.asked) == 4
