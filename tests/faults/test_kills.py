"""The real command, killed at random moments."""

import shlex
import signal
import time
from pathlib import Path

import matplotlib.image
import pytest
from tests.faults.harness import COMMAND, RUNS, campaigns, contents, drafts
from tests.faults.processes import Fork, Start

KILLS = 30  # scripts/faults does more


def test_kills_lose_nothing(tmp_path):
    figures = campaigns(tmp_path, kills=KILLS, seed=0)
    assert figures.kills == KILLS
    assert figures.clean, figures


def test_charts_are_whole_or_not_there(tmp_path):
    outputs = tmp_path / "outputs"
    typed = ["run", "-m", "data=mnist_5k", "model=mlp_simple", "model.widths=[8]", "train.epochs=1"]
    assert Fork(outputs, *typed, "compress=baseline,quantize,prune", f"outputs={outputs}").wait() == 0
    began = time.monotonic()
    assert Fork(outputs, "plot", str(outputs), "--to", str(tmp_path / "charts")).wait() == 0
    seconds = time.monotonic() - began
    killed = 0
    for share in (0.2, 0.35, 0.5, 0.65, 0.8):
        process = Fork(outputs, "plot", str(outputs))
        killed += process.wait(share * seconds) is None
        process.kill()
        for chart in outputs.glob("plots/[!.]*.png"):
            matplotlib.image.imread(chart)
    assert killed
    assert Fork(outputs, "plot", str(outputs)).wait() == 0
    assert len(list(outputs.glob("plots/[!.]*.png"))) >= 3


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_within_two_seconds_and_says_how_to_go_on(tmp_path, number, status):
    outputs = tmp_path / "outputs"
    for moment in (2.0, 5.0):
        process = Start(outputs, *COMMAND, "train.epochs=400", f"outputs={outputs}")
        time.sleep(moment)
        process.signal(number)
        assert process.wait(2.0) == status, process.err
        assert not any("Traceback" in told for told in [process.err, *map(Path.read_text, outputs.rglob("run.log"))])
        assert process.err.strip().splitlines()[-2:] == [
            "interrupted; what is done is kept. To go on, type the same command again:",
            "  " + shlex.join(["kdbench", *COMMAND, "train.epochs=400", f"outputs={outputs}"]),
        ]


def test_four_at_once_train_each_network_once_and_share_the_work(tmp_path):
    outputs = tmp_path / "outputs"
    processes = [Fork(outputs, *COMMAND, "train.epochs=5", f"outputs={outputs}") for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4, [process.err for process in processes]
    told = [(process.out, process.err) for process in processes]
    assert not any("Traceback" in err for _, err in told)
    assert any(
        "baseline seed 0: another process is at it" in err or "waiting for other pro" in err for _, err in told
    )
    # Every process ends with all rows; each of them was made by one process alone.
    assert sum(out.count("was done already") for out, _ in told) == 3 * RUNS
    logs = [path.read_text() for path in outputs.glob("runs/*/*/run.log")]
    trained = [line.rsplit(" ", 1)[-1] for log in logs for line in log.splitlines() if " kept as " in line]
    assert len(trained) == len(set(trained)) == len(list(outputs.glob("store/*/record.json"))) - exported(outputs)
    assert len(contents(outputs)) == RUNS
    assert drafts(outputs) == []


def exported(outputs):
    """How many entries of the store are no trainings."""
    return sum('"history"' not in path.read_text() for path in outputs.glob("store/*/record.json"))
