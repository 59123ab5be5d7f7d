import signal
import subprocess
import sys
import threading
import time

import pytest

from kdbench.errors import Busy
from kdbench.storage import locks

HOLDER = """
import sys, time
from pathlib import Path
from kdbench.storage import locks
with locks.held(Path(sys.argv[1]), "the thing"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def holder(tmp_path):
    """Start a process that holds the lock for so many seconds."""
    started = []

    def start(seconds: float) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLDER, str(tmp_path / "lock"), str(seconds)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_who_comes_second_waits_and_says_so(tmp_path, holder, caplog):
    process = holder(0.7)
    assert locks.taken(tmp_path / "lock")
    with locks.held(tmp_path / "lock", "the thing"):
        assert process.wait(timeout=5) == 0
    assert "the thing: another process is at it; waiting for it" in caplog.text
    assert not locks.taken(tmp_path / "lock")


def test_who_will_not_wait_is_told(tmp_path, holder):
    holder(30)
    with pytest.raises(Busy, match="the thing"), locks.held(tmp_path / "lock", "the thing", wait=False):
        pass


def test_what_should_take_no_time_is_said_if_it_does(tmp_path, holder, caplog):
    holder(2.0)
    with locks.held(tmp_path / "lock", "the ledger", quiet=True):
        assert "the ledger: another process is at it" in caplog.text
    caplog.clear()
    holder(0.3)
    with locks.held(tmp_path / "lock", "the ledger", quiet=True):
        assert caplog.text == ""


def test_two_who_ask_do_not_take_each_other_for_the_owner(tmp_path):
    (tmp_path / "lock").touch()
    found = []

    def ask():
        found.extend([locks.taken(tmp_path / "lock") for _ in range(2000)])

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert found == [False] * 4000


def test_a_dead_owner_does_not_block(tmp_path, holder):
    process = holder(30)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not locks.taken(tmp_path / "lock")
    began = time.monotonic()
    with locks.held(tmp_path / "lock", "the thing", wait=False):
        assert time.monotonic() - began < 1


def test_threads_exclude_each_other_too(tmp_path):
    inside, most = [], []

    def work():
        with locks.held(tmp_path / "lock", "the thing"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 5
