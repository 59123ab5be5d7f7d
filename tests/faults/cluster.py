"""Workers to be killed: of a Ray cluster of two nodes on this machine, of joblib, of submitit's local executor."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

PLACE = "KDBENCH_FAULTS"  # in the environment of all that is started here
RAY = Path(sys.executable).with_name("ray")


def processes(parts: str) -> list[int]:
    """Return the processes whose command line has `parts` in it."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if parts in (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"):
                found.append(int(place.name))
    return [pid for pid in found if pid != os.getpid()]


def kill(pid: int, number: int = signal.SIGKILL) -> bool:
    """Kill a process; whether it was still there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


class Workers:
    """The workers of one command: how it is typed, and who can be killed while it runs."""

    AT_WORK_SHARE = 0.9  # of the kills

    def __init__(self, on: str, place: Path, drawn: random.Random) -> None:
        self.on, self.place, self.drawn = on, place, drawn

    @property
    def typed(self) -> list[str]:
        """What makes the command use them, two at a time."""
        return ["--on", self.on, "--workers", "2"]

    @property
    def environment(self) -> dict[str, str]:
        """What the command needs to find them."""
        return {"HYDRA_FULL_ERROR": "0", PLACE: str(self.place)}

    def start(self, outputs: Path, command: list[str], log: Path) -> subprocess.Popen[bytes]:
        """Type a command."""
        with log.open("ab") as printed:
            return subprocess.Popen(
                [*command, f"outputs={outputs}"],
                env={**os.environ, **self.environment},
                stdout=printed,
                stderr=printed,
                start_new_session=True,
            )

    def end(self) -> int:
        """Wait for what goes on after the command, and return its exit status."""
        return 0

    @property
    def alive(self) -> list[int]:
        """The processes of workers."""
        found = processes({"joblib": "popen_loky_posix", "ray": "ray::_run_job"}[self.on])
        return [pid for pid in found if is_below(pid, self.place)]

    def kill_one(self) -> bool:
        """Kill a worker at random, mostly one that has ended its imports; whether there was one."""
        alive = self.alive
        if self.drawn.random() < self.AT_WORK_SHARE:
            alive = [pid for pid in alive if has_mapped(pid, "libtorch_cpu")]
        return bool(alive) and kill(self.drawn.choice(alive))

    def close(self) -> None:
        """Let go of everything."""


class Queue(Workers):
    """Jobs of submitit's local executor, half of which are not killed but come to their time limit.

    The limit is a signal, on which submitit has the job write how it goes on, and queues it again.
    """

    LIMIT_SHARE = 0.5  # of the kills

    @property
    def typed(self) -> list[str]:
        """What makes the command use them, two at a time."""
        return ["hydra/launcher=submitit_local", "hydra.launcher.cpus_per_task=1", "hydra.sweeper.max_batch_size=2"]

    @property
    def alive(self) -> list[int]:
        """The processes of jobs."""
        return processes(f"submitit.core._submit {self.place}")

    def kill_one(self) -> bool:
        """Kill a job at random, or let it come to its time limit, if it is far enough to know that signal."""
        if self.drawn.random() >= self.LIMIT_SHARE:
            return super().kill_one()
        ready = [pid for pid in self.alive if catches(pid, signal.SIGUSR2)]
        return bool(ready) and kill(self.drawn.choice(ready), signal.SIGUSR2)


class Cluster(Workers):
    """Two Ray nodes of one core each, with folders of their own; the second is killed now and then, and replaced."""

    NODE_SHARE = 0.1  # of the kills

    def __init__(self, on: str, place: Path, drawn: random.Random) -> None:
        super().__init__(on, place, drawn)
        self.port = drawn.randrange(20000, 30000)
        self.nodes = 0
        self.token = place / "token"
        self.token.write_text("0123456789abcdef" * 4)
        self.add("--head", f"--port={self.port}", "--include-dashboard=false")
        self.address = (self.newest / "ray_current_cluster").read_text()
        self.add_node()

    @property
    def environment(self) -> dict[str, str]:
        """Where the cluster is, and what proves that one belongs to it."""
        known = super().environment | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token)}
        return known | ({"RAY_ADDRESS": self.address} if self.nodes > 1 else {})

    def add(self, *arguments: str) -> None:
        """Start a node."""
        self.nodes += 1
        folder = Path(f"/tmp/kdbr-{self.port}-{self.nodes}")  # short: paths of sockets may have 107 characters
        command = [str(RAY), "start", *arguments, "--num-cpus=1", f"--temp-dir={folder}", "--disable-usage-stats"]
        environment = {**os.environ, **self.environment}
        environment.pop("RAY_ADDRESS", None)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        self.newest = folder

    def add_node(self) -> None:
        """Start the second node, or another in its place."""
        self.add(f"--address={self.address}")

    def kill_node(self) -> bool:
        """Kill the second node, with all that it runs, and start another."""
        pids = [pid for pid in processes(str(self.newest)) if pid != os.getpid()]
        children = [pid for raylet in pids for pid in descendants(raylet)]
        killed = [kill(pid) for pid in {*pids, *children}]
        self.add_node()
        return any(killed)

    def kill_one(self) -> bool:
        """Kill a worker at random, or the second node."""
        return self.kill_node() if self.drawn.random() < self.NODE_SHARE else super().kill_one()

    def close(self) -> None:
        """Stop the nodes."""
        for pid in processes(f"/tmp/kdbr-{self.port}-"):
            for child in descendants(pid):
                kill(child)
            kill(pid)
        subprocess.run(["rm", "-rf", *map(str, Path("/tmp").glob(f"kdbr-{self.port}-*"))], check=False)


def is_below(pid: int, place: Path) -> bool:
    """Whether a process comes of the commands that are killed here: others of the machine are left alone."""
    with contextlib.suppress(OSError):
        return f"{PLACE}={place}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return False


def has_mapped(pid: int, library: str) -> bool:
    """Whether a process has a library in its memory."""
    with contextlib.suppress(OSError):
        return library in Path(f"/proc/{pid}/maps").read_text()
    return False


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal."""
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text()
        return bool(int(status.partition("SigCgt:")[2].split()[0], 16) >> number - 1 & 1)
    return False


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that they have."""
    found = []
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def until(seconds: float, process: subprocess.Popen[bytes]) -> bool:
    """Wait so long; whether the process still runs then."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
        return False
    time.sleep(0)
    return True
