import contextlib
import os
import subprocess
import sys

import pytest

from kdbench.errors import OtherVersion
from kdbench.storage import processes
from kdbench.storage.processes import JUST_MADE_SECONDS, at_work

OTHER = """
import sys
from pathlib import Path
from kdbench.storage.processes import at_work
with at_work(Path(sys.argv[1]), "1") as count:
    print(count(), flush=True)
    sys.stdin.read()
"""


def test_the_living_processes_of_this_machine_are_counted_and_no_dead_one(tmp_path):
    folder = tmp_path / "locks" / "processes"
    with at_work(tmp_path, "1") as count:
        assert count() == 1
        command = [sys.executable, "-c", OTHER, str(tmp_path)]
        other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert other.stdout.readline() == "2\n"
        assert count() == 2
        other.kill()
        other.communicate()
        assert count() == 1
        [left] = [path for path in processes.files(folder) if f"-{other.pid}-" in path.name]
        os.utime(left, (0, left.stat().st_mtime - 2 * JUST_MADE_SECONDS))
        assert count() == 1
        assert not left.exists()  # what a dead one left is tidied up
    assert list(folder.iterdir()) == []


def test_other_machines_do_not_count(tmp_path, monkeypatch):
    folder = tmp_path / "locks" / "processes"
    with contextlib.ExitStack() as stack:
        counts = []
        for name in ("a/node", "b"):
            monkeypatch.setattr("platform.node", lambda name=name: name)
            counts.append(stack.enter_context(at_work(tmp_path, "1")))
        assert [count() for count in counts] == [1, 1]
        assert len(processes.files(folder)) == 2


@pytest.mark.parametrize(("version", "named"), [("0.0.1", "kdbench 0.0.1"), ("", "kdbench of an earlier version")])
def test_beside_another_version_nothing_is_begun_until_it_has_ended(tmp_path, monkeypatch, version, named):
    outputs = tmp_path / "outputs"
    monkeypatch.setattr("platform.node", lambda: "there")
    there = contextlib.ExitStack()
    there.enter_context(at_work(outputs, version))
    monkeypatch.setattr("platform.node", lambda: "here")
    message = rf"{named} is at work in \S+/outputs \(process \d+ of there\), and this is 1: wait until"
    with pytest.raises(OtherVersion, match=message), at_work(outputs, "1"):
        pass
    there.close()
    assert processes.files(outputs / "locks" / "processes") == []
    with at_work(outputs, "1") as count:
        assert count() == 1


def test_a_process_counts_once_however_often_it_is_at_work(tmp_path):
    with at_work(tmp_path, "1") as outer, at_work(tmp_path, "1") as inner:
        assert (outer(), inner()) == (1, 1)
