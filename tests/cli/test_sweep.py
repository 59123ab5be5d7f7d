"""`kdbench sweep` of an experiment that lists several multiruns."""

from pathlib import Path

import pytest

from kdbench.cli import sweep
from kdbench.cli.main import main
from kdbench.errors import BadSetting
from kdbench.results.collect import collect
from kdbench.settings.choices import config_dir, read

POINTS = "+experiment=operating_points"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_what_lists_nothing_is_one_multirun():
    assert sweep.listed(["model=mlp_simple"]) is None
    assert sweep.listed(["+experiment=smoke"]) is None


def test_all_points_of_the_list_are_done_and_only_these():
    found = sweep.listed([POINTS])
    listed = read(config_dir() / "experiment" / "operating_points.yaml")["sweeps"]
    assert len(found) == len(listed)
    for settings, entry in zip(found, listed, strict=True):
        typed = dict(setting.split("=") for setting in settings)
        assert typed.keys() == entry.keys()
        assert all(len(typed[name].split(",")) == len(values) for name, values in entry.items())
    assert ["compress=prune_structured", "compress.macs=0.75,0.5,0.25", "compress.finetune_epochs=0,null"] in found


def test_compress_narrows_it():
    assert [settings[0] for settings in sweep.listed([POINTS, "compress=prune,cluster"])] == [
        "compress=prune",
        "compress=cluster",
    ]
    with pytest.raises(BadSetting, match=r"compress=distill is not of experiment=operating_points: choose from base"):
        sweep.listed([POINTS, "compress=distill"])


def test_several_multiruns_end_in_one_table(capsys):
    Path("mine/experiment").mkdir(parents=True)
    Path("mine/experiment/few.yaml").write_text(
        "sweeps:\n  - {compress: [baseline]}\n  - {compress: [quantize_weights], compress.bits: [4, 2]}\n"
    )
    typed = ["sweep", "+experiment=few", "--config-dir", "mine", "model=mlp_simple", "data=mnist_5k", "threads=1"]
    assert main([*typed, "train.epochs=1", "model.widths=[8]"]) == 0
    assert capsys.readouterr().out.count("agreement") == 1
    rows = collect(Path("outputs"))[0]
    assert sorted((row.compress, row.settings) for row in rows) == [
        ("baseline", ""),
        ("quantize_weights", "bits=2"),
        ("quantize_weights", "bits=4"),
    ]


def test_a_list_that_is_none_is_refused_before_anything_runs(capsys):
    Path("mine/experiment").mkdir(parents=True)
    Path("mine/experiment/few.yaml").write_text("sweeps: [{compress.bits: [4, 2]}]\n")
    assert main(["sweep", "+experiment=few", "--config-dir", "mine"]) == 1
    assert "sweeps are lists of values by the names of settings" in capsys.readouterr().err
    assert not Path("outputs").exists()
