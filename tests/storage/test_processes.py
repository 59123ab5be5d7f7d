import contextlib
import os
import subprocess
import sys

from kdbench.storage.processes import JUST_MADE_SECONDS, at_work

OTHER = """
import sys
from pathlib import Path
from kdbench.storage.processes import at_work
with at_work(Path(sys.argv[1])) as count:
    print(count(), flush=True)
    sys.stdin.read()
"""


def test_the_living_processes_of_this_machine_are_counted_and_no_dead_one(tmp_path):
    with at_work(tmp_path) as count:
        assert count() == 1
        command = [sys.executable, "-c", OTHER, str(tmp_path)]
        other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert other.stdout.readline() == "2\n"
        assert count() == 2
        other.kill()
        other.communicate()
        assert count() == 1
        [left] = [path for path in tmp_path.iterdir() if f"-{other.pid}-" in path.name]
        os.utime(left, (0, left.stat().st_mtime - 2 * JUST_MADE_SECONDS))
        assert count() == 1
        assert not left.exists()  # what a dead one left is tidied up
    assert list(tmp_path.iterdir()) == []


def test_other_machines_do_not_count(tmp_path, monkeypatch):
    with contextlib.ExitStack() as stack:
        counts = []
        for name in ("a/node", "b"):
            monkeypatch.setattr("platform.node", lambda name=name: name)
            counts.append(stack.enter_context(at_work(tmp_path)))
        assert [count() for count in counts] == [1, 1]
        assert len(list(tmp_path.iterdir())) == 2
