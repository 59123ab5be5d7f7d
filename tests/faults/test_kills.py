"""The real command, killed at chosen calls and at random moments."""

import itertools
import shlex
import signal

import matplotlib.image
import pytest
from tests.faults.harness import COMMAND, RUNS, campaigns, contents, drafts
from tests.faults.processes import Fork, Start
from tests.faults.shim import KILLED
from tests.plots.rows import study

from kdbench.results.row import write

KILLS = 4  # scripts/faults does more


def test_kills_lose_nothing(tmp_path):
    figures = campaigns(tmp_path, kills=KILLS, seed=0, side_by_side=1, at_calls=0.9)
    assert figures.kills == KILLS
    assert figures.resumed
    assert figures.clean, figures


def test_charts_are_whole_or_not_there(tmp_path):
    outputs = tmp_path / "outputs"
    for row in study():
        if row.model == "mlp_simple":
            folder = outputs / "runs" / "mnist" / f"{row.model} {row.compress}"
            folder.mkdir(parents=True)
            write(row, folder)

    def charts():
        return list(outputs.glob("plots/[!.]*.png"))

    left = 0
    for calls in itertools.count(6, 170):
        process = Fork(outputs, "plot", str(outputs), calls=calls)
        if process.wait() != KILLED:
            break
        left += len(drafts(outputs))
        for chart in charts():
            matplotlib.image.imread(chart)
    assert calls > 40
    assert left  # some were killed in the middle of one
    assert process.wait() == 0, process.err
    assert len(charts()) >= 3


@pytest.mark.parametrize("begin", [Start, Fork], ids=["while it imports torch", "while it trains"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_within_two_seconds_and_says_how_to_go_on(tmp_path, number, status, begin):
    outputs = tmp_path / "outputs"
    command = [*COMMAND, "teacher_train.epochs=4000", f"outputs={outputs}"]
    process = begin(outputs, *command)
    reached = "sweeps/*/multirun.yaml" if begin is Start else "store/checkpoints/*/SHA256SUMS"
    process.wait_until(lambda: list(outputs.glob(reached)))
    process.signal(number)
    assert process.wait(2.0) == status, process.err
    logs = [path.read_text() for path in outputs.rglob("run.log")]
    assert not any("Traceback" in text for text in [process.err, *logs])
    assert process.err.strip().splitlines()[-2:] == [
        "interrupted; what is done is kept. To go on, type the same command again:",
        "  " + shlex.join(["kdbench", *command]),
    ]


def test_four_at_once_train_each_network_once_and_share_the_work(tmp_path):
    outputs = tmp_path / "outputs"
    processes = [Fork(outputs, *COMMAND, f"outputs={outputs}") for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4, [process.err for process in processes]
    assert not any("Traceback" in process.err for process in processes)
    waited = ("baseline seed 0: another process is at it", "waiting for other pro")
    assert any(words in process.err for process in processes for words in waited)
    # Every process ends with all rows; each of them was made by one process alone.
    assert sum(process.out.count("was done already") for process in processes) == 3 * RUNS
    logs = [path.read_text() for path in outputs.glob("runs/*/*/run.log")]
    trained = [line.rsplit(" ", 1)[-1] for log in logs for line in log.splitlines() if " kept as " in line]
    entries = [path.parent.name for path in outputs.glob("store/*/record.json") if '"history"' in path.read_text()]
    assert sorted(trained) == sorted(entries)
    assert len(contents(outputs)) == RUNS
    assert drafts(outputs) == []
