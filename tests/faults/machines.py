"""Two machines that share a folder, as far as one can have them: processes in namespaces of their own.

Neither has a network, sees a process of the other, or shares a `flock` with it: each has a FUSE mount of its own.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

from tests.faults.cluster import Workers

NAMESPACES = ["unshare", "--net", "--uts", "--ipc", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
# $0: the name of the machine; then the folder, where it is mounted, and the command.
BOOT = 'hostname "$0" && bindfs "$1" "$2" && shift 2 && exec "$@"'
COUNTS = re.compile(r"(\d+) (done|running|failed|missing)")


class Machines(Workers):
    """The command on one machine, the same on the other, which is killed now and then, and a third that looks on."""

    STATUS_SHARE = 0.5  # of the kills, after which `kdbench status` is asked

    def __init__(self, on: str, place: Path, drawn: Random, runs: int) -> None:
        super().__init__(on, place, drawn)
        self.runs = runs
        self.other: subprocess.Popen[bytes] | None = None

    @property
    def typed(self) -> list[str]:
        """The other machine is the other worker."""
        return []

    def start(self, outputs: Path, command: list[str], log: Path) -> subprocess.Popen[bytes]:
        """Type the command on the first machine; on the other too, if it does not run there."""
        self.outputs, self.command, self.log = outputs, command, log
        outputs.mkdir(exist_ok=True)
        if self.other is None:
            self.other = self.on_machine("two")
        return self.on_machine("one")

    def on_machine(self, name: str) -> subprocess.Popen[bytes]:
        """Start a machine that does the command, and is gone after it."""
        mount = self.place / name
        mount.mkdir(exist_ok=True)
        boot = [*NAMESPACES, "sh", "-c", BOOT, name, str(self.outputs), str(mount)]
        return super().start(mount, [*boot, *self.command], self.log)

    def kill_one(self) -> bool:
        """Kill all that the other machine does, and start it again; now and then look from here how far they are."""
        assert self.other is not None
        if self.other.poll() is not None:
            return False
        os.killpg(self.other.pid, signal.SIGKILL)
        self.other.wait()
        self.other = self.on_machine("two")
        if self.drawn.random() < self.STATUS_SHARE:
            self.look_on()
        return True

    def look_on(self) -> None:
        """Ask `kdbench status` here, which is to know of every run where it stands."""
        command = [sys.executable, "-m", "kdbench", "status", str(self.outputs)]
        shown = subprocess.run(command, capture_output=True, text=True, check=False)
        counts = [sum(int(count) for count, _ in COUNTS.findall(line)) for line in shown.stdout.splitlines()[1:2]]
        begun = "nothing was started" not in shown.stderr
        assert counts == [self.runs] * begun, shown.stdout + shown.stderr

    def end(self) -> int:
        """Wait for the other machine, and return its exit status."""
        assert self.other is not None
        status, self.other = self.other.wait(), None
        return status
