"""A real sweep by workers of joblib: what the command that was typed tells, and what it leaves behind."""

from pathlib import Path

import pytest
from tests.faults.harness import contents

from kdbench.cli.main import main
from kdbench.storage import durable

SWEEP = [
    "sweep",
    "data=mnist_5k",
    "model=mlp_simple",
    "model.widths=[8]",
    "compress=baseline,quantize",
    "train.epochs=1",
    "threads=1",
]


def test_workers_make_the_rows_of_one_process_and_the_command_tells_of_each(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    typed = [*SWEEP, "train.lr=0.01,500"]  # the latter diverges
    assert main([*typed, "--on", "joblib", "--workers", "1"]) == 1
    out, err = capfd.readouterr()
    lines = [line for line in out.splitlines() if line.startswith("mnist_5k  mlp_simple")]
    assert [line.split("  ")[2] for line in lines] == ["baseline", "quantize"]
    assert "model       method" in out  # the table
    assert err.count("diverged in epoch 1: the loss is not finite") == 2  # when it happened, and at the end
    assert "2 of 4 runs failed:" in err
    assert "INFO" not in out + err
    assert not list(Path("outputs").glob("sweeps/*/jobs"))
    assert not list(Path("outputs").rglob(f"{durable.DRAFT}*"))
    assert main([*typed, "outputs=alone"]) == 1
    assert contents(Path("outputs")) == contents(Path("alone")) != {}
    capfd.readouterr()
    assert main(["status"]) == 1
    assert "2 done, 2 failed" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            ["sweep", "+experiment=here,there"],
            "outputs= of the runs differs, and workers share one: type one outputs=",
        ),
        (["sweep", "+experiment=each", "seed=0,1"], "outputs= of the runs differs, and workers share one: type one"),
        (
            ["sweep", "retrain=true"],
            "retrain=true is for one process: leave --on or hydra/launcher out, or type a new",
        ),
        (
            ["sweep", "hydra/sweeper=basic"],
            "BasicSweeper does its runs in its own process: leave --on and hydra/launcher",
        ),
        (["run"], "hydra/launcher=joblib is for several runs: type kdbench sweep"),
    ],
    ids=["a choice takes results elsewhere", "a seed does", "networks made anew", "Hydra's own sweeper", "one run"],
)
def test_what_workers_cannot_do_is_one_line_before_anything_is_begun(tmp_path, monkeypatch, capfd, typed, said):
    monkeypatch.chdir(tmp_path)
    Path("mine/experiment").mkdir(parents=True)
    for name, place in {"here": "here", "there": "there", "each": "of_${seed}"}.items():
        Path(f"mine/experiment/{name}.yaml").write_text(f"# @package _global_\noutputs: {place}\n")
    assert main([*typed, *SWEEP[1:4], "--config-dir", "mine", "hydra/launcher=joblib"]) == 1
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith(f"error: {said}")
    assert not list(tmp_path.rglob("metrics.csv"))


def test_a_folder_whose_name_hydra_would_fill_in_is_refused(tmp_path, monkeypatch, capfd):
    (tmp_path / "${seed}").mkdir()
    monkeypatch.chdir(tmp_path / "${seed}")
    assert main([*SWEEP, "hydra/launcher=joblib"]) == 1
    assert "workers cannot stand in" in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["${seed}"]
