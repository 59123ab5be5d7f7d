"""A real sweep by workers of joblib: what the command that was typed tells, and what it leaves behind."""

from pathlib import Path

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
