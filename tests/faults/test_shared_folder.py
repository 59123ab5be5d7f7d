"""A folder that machines share which see nothing of each other's `flock`."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from tests.faults.harness import COMMAND, RUNS, contents, drafts, weights
from tests.faults.mounts import twice
from tests.faults.processes import Fork

from kdbench.errors import Busy
from kdbench.storage import locks, takeover

HOLD = """
import sys, time
from pathlib import Path
from kdbench.storage import locks
with locks.held(Path(sys.argv[1]), "the thing"):
    print("held", flush=True)
    sys.stdin.read()
"""
ONE = [*("run", "data=mnist_5k", "model=mlp_simple", "model.widths=[8]", "threads=1", "checkpoint_seconds=0")]
LONG = [*ONE, "train.batch_size=50", "train.epochs=4"]
LEASE = 2.0


@pytest.fixture
def mounts(tmp_path):
    with twice(tmp_path) as both:
        yield both


def begin(outputs, *command, elsewhere=False):
    arguments = [*command, f"outputs={outputs}"]
    return Fork(outputs, *arguments, share=float("inf"), lease=LEASE, elsewhere=elsewhere)


def logs(outputs):
    return "".join(path.read_text() for path in outputs.glob("runs/*/*/run.log"))


def in_the_middle(outputs):
    return lambda: logs(outputs).count("checkpoint at") > 3


def test_two_mounts_know_nothing_of_each_others_flock_and_locks_hold_all_the_same(mounts):
    paths = [mount / "lock" for mount in mounts]
    handles = [os.open(path, os.O_RDWR | os.O_CREAT) for path in paths]
    for handle in handles:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    for handle in handles:
        os.close(handle)
    with locks.held(paths[0], "the thing"):
        assert [locks.taken(path) for path in paths] == [True, True]
        for path in paths:
            with pytest.raises(Busy), locks.held(path, "the thing", wait=False):
                pass
    with locks.held(paths[1], "the thing", wait=False):
        pass


def test_a_mount_in_a_namespace_of_its_own_is_excluded_too_and_followed_when_it_has_vanished(mounts, monkeypatch):
    there = mounts[1].parent / "there"
    there.mkdir()
    mount = f'bindfs "{mounts[0].parent / "folder"}" "{there}" && exec "{sys.executable}" -c "$0" "{there}/lock"'
    command = ["unshare", "--mount", "sh", "-c", mount, HOLD]
    if shutil.which("unshare") is None or subprocess.run([*command[:2], "true"], check=False).returncode:
        pytest.skip("nobody may make a namespace here")
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        assert not list(there.iterdir())  # it is not mounted here
        monkeypatch.setattr(takeover, "LEASE_SECONDS", 1.0)
        with pytest.raises(Busy), locks.held(mounts[0] / "lock", "the thing", wait=False):
            pass
    finally:
        process.kill()
        process.communicate()
        subprocess.run(["pkill", "-KILL", "-f", f"bindfs .* {there}"], check=False)  # which keeps the namespace alive
    began = time.monotonic()
    with locks.held(mounts[0] / "lock", "the thing"):
        assert 0.9 < time.monotonic() - began < 10


def test_two_mounts_train_each_network_once_and_go_on_from_the_checkpoint_of_one_that_was_killed(mounts):
    both = [mount / "outputs" for mount in mounts]
    first = begin(both[0], *COMMAND)
    first.wait_until(in_the_middle(both[0]))
    first.kill()
    processes = [begin(outputs, *COMMAND) for outputs in reversed(both)]
    assert [process.wait() for process in processes] == [0, 0], [process.err for process in processes]
    assert logs(both[0]).count("goes on from its checkpoint") == 1
    trained = [line.rsplit(" ", 1)[-1] for line in logs(both[0]).splitlines() if " kept as " in line]
    assert sorted(trained) == sorted(weights(both[1]))
    assert len(contents(both[0])) == RUNS
    assert drafts(both[0]) == []
    # But for the sign that the one which was killed is at work: it lies there for a minute.
    killed = [*both[0].glob(f"locks/processes/*-{first.process.pid}-*")]
    assert [path for path in both[0].rglob("*.lease*") if path not in killed] == []


def test_one_that_stood_still_stops_when_another_has_gone_on(tmp_path):
    outputs = tmp_path / "outputs"
    first = begin(outputs, *LONG)
    first.wait_until(in_the_middle(outputs))
    first.signal(signal.SIGSTOP)
    second = begin(outputs, *LONG, elsewhere=True)
    second.wait_until(lambda: "goes on from its checkpoint" in logs(outputs))
    first.signal(signal.SIGCONT)
    assert first.wait() == 1
    assert "this process stood still for over 2 s" in first.err.strip().splitlines()[-1]
    assert second.wait() == 0, second.err
    assert len(contents(outputs)) == 1
    assert drafts(outputs) == []
