"""Who carries the runs of a sweep: Hydra's launchers, their short forms, and what of a machine a worker may use.

Imports neither torch nor the launchers.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf, read_write

from kdbench.errors import BadSetting, nearest
from kdbench.storage.processes import cores

LOCAL = "BasicLauncher"


@dataclass(frozen=True)
class Launcher:
    """A launcher that has a short form: the package that brings it, and Hydra's settings for so many workers."""

    package: str
    settings: Callable[[int], list[str]]


def _joblib(workers: int) -> list[str]:
    return ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={workers}", "hydra.launcher.batch_size=1"]


def _ray(workers: int) -> list[str]:
    init = "+hydra.launcher.ray.init"
    return [
        "hydra/launcher=ray",
        f"+hydra.launcher.ray.remote.num_cpus={share(workers):g}",
        # Ray puts a task on one GPU, of which it takes a part.
        *([f"+hydra.launcher.ray.remote.num_gpus={1 / math.ceil(workers / gpus()):.3g}"] if gpus() else []),
        f"{init}.log_to_driver=false",
        f"{init}.logging_level=critical",
        # The plugin's own value is refused by a cluster that runs already.
        f"{init}.object_store_memory=null",
    ]


def _slurm(workers: int) -> list[str]:
    return [
        "hydra/launcher=submitit_slurm",
        f"hydra.launcher.array_parallelism={workers}",
        # A job that comes to its time limit is queued again, and goes on from its checkpoint.
        "hydra.launcher.max_num_timeout=1000",
    ]


LAUNCHERS = {
    "joblib": Launcher("hydra_plugins.hydra_joblib_launcher", _joblib),
    "ray": Launcher("hydra_plugins.hydra_ray_launcher", _ray),
    "slurm": Launcher("hydra_plugins.hydra_submitit_launcher", _slurm),
}
OF_HYDRA = {
    "joblib": "joblib",
    "ray": "ray",
    "submitit_local": "slurm",
    "submitit_slurm": "slurm",
}  # and their extras
QUIET = "ignore:resource_tracker:UserWarning"
QUEUED = 256  # jobs of a SLURM array that run at once where nothing is typed


def in_full(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a sweep with `--on NAME` and `--workers N` as Hydra's own settings.

    Raises `BadSetting` for an unknown launcher, one that is not installed, and a number of workers that is none.
    """
    rest, typed = _taken_out(arguments, ("--on", "--workers"))
    name, workers = typed.get("--on"), typed.get("--workers")
    if name is None:
        if workers is not None:
            raise BadSetting(f"--workers is for a launcher: type --on {'|'.join(LAUNCHERS)} beside it")
        return rest
    if not {"-m", "--multirun"} & set(rest):
        raise BadSetting(f"--on {name} is for several runs: type kdbench sweep, or kdbench run -m")
    if name not in LAUNCHERS:
        raise BadSetting(f"--on {name} is unknown: {nearest(name, list(LAUNCHERS))}")
    if workers is not None and not (workers.isdecimal() and int(workers) >= 1):
        raise BadSetting(f"--workers {workers} is not a whole number of at least 1")
    own = [one for one in rest if one.startswith("hydra/launcher=")]
    if own:
        raise BadSetting(f"{own[0]} and --on {name} name two launchers: leave one of them out")
    if not _installed(LAUNCHERS[name].package):
        raise not_installed(f"--on {name}", name)
    if name == "slurm":
        require_slurm("--on slurm")
    count = int(workers) if workers else QUEUED if name == "slurm" else cores()
    return [*LAUNCHERS[name].settings(count), *rest]


def not_installed(typed: str, extra: str) -> BadSetting:
    """Return the error for a launcher that is missing here."""
    return BadSetting(f"{typed} is not installed: pip install 'kdbench[{extra}]'")


def require_slurm(typed: str) -> None:
    """Raise `BadSetting` where jobs cannot be queued."""
    if shutil.which("sbatch") is None:
        where = "type it where you queue jobs, or --on joblib"
        raise BadSetting(f"{typed} needs SLURM's sbatch, which is not here: {where}")


def require_possible(launcher: Any) -> None:
    """Raise `BadSetting` for a launcher, as Hydra composed it, that could do nothing here."""
    if launcher._target_.endswith("SlurmLauncher"):
        require_slurm("hydra/launcher=submitit_slurm")
    for name in ("n_jobs", "cpus_per_task", "array_parallelism"):
        value = launcher.get(name)
        if isinstance(value, int) and (value == 0 or (value < 0 and name != "n_jobs")):
            least = "a whole number of at least 1" + ", or -1 for as many as cores" * (name == "n_jobs")
            raise BadSetting(f"hydra.launcher.{name}={value} does nothing: type {least}")


def is_local(launcher: Any) -> bool:
    """Whether `launcher`, as Hydra composed it, does the runs in this process."""
    return bool(launcher._target_.endswith(LOCAL))


def threads_of(launcher: Any) -> int | None:
    """Return how many CPU threads a worker of `launcher` may use; None if that is not known from its settings."""
    part = None
    if "ray" in launcher:
        part = launcher.ray.remote.get("num_cpus", 1)  # what Ray reserves where nothing is said
    elif "n_jobs" in launcher:
        part = share(launcher.n_jobs) if launcher.n_jobs > 0 else 1
    elif "cpus_per_task" in launcher:
        part = launcher.cpus_per_task
    return None if part is None else max(1, min(int(part), cores()))


def workers_of(launcher: Any) -> int:
    """Return how many runs are done at a time, as far as the settings of `launcher` say."""
    if "ray" in launcher:
        return max(1, int(cores() / (launcher.ray.remote.get("num_cpus", 1) or 1)))
    if "n_jobs" in launcher:
        return launcher.n_jobs if launcher.n_jobs > 0 else cores()
    return max(1, int(launcher.get("array_parallelism", QUEUED)))


def no_more_than(runs: int, started: Any, launcher: Any) -> list[str]:
    """Let joblib, which starts them all at once, `started` by Hydra, have no more workers than there are runs.

    Returns the setting by which they divide the cores then, and changes `launcher` to it.
    """
    asked = launcher.get("n_jobs")
    if not isinstance(asked, int) or 0 <= asked <= runs or (asked < 0 and cores() <= runs):
        return []
    started.joblib["n_jobs"] = runs
    with read_write(launcher):
        launcher.n_jobs = runs
    return [f"hydra.launcher.n_jobs={runs}"]


def ready(launcher: Any) -> contextlib.AbstractContextManager[None]:
    """Return a context in which `launcher` can be used, and after which it has let go of what it holds."""
    if "n_jobs" in launcher:
        # Else a process of Python's own warns of what workers that are stopped have left, and tidies it up.
        asked = os.environ.get("PYTHONWARNINGS", "")
        if QUIET not in asked:
            os.environ["PYTHONWARNINGS"] = f"{asked},{QUIET}".strip(",")
    if "ray" not in launcher:
        return contextlib.nullcontext()
    from kdbench.cli import ray_cluster

    return ray_cluster.joined(OmegaConf.to_container(launcher.ray.init, resolve=True))


def take_gpu(launcher: Any, job: int) -> None:
    """Let a worker of joblib use one GPU, the next in turn: Ray and SLURM see to that themselves."""
    if "n_jobs" in launcher and gpus() > 1:
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", str(job % gpus()))  # of its first job: workers do several


def gpus() -> int:
    """Count the GPUs of NVIDIA in this machine, without torch."""
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def share(workers: int) -> float:
    """Return the part of this machine's cores that each of so many workers has: whole ones, if it is one or more."""
    part = cores() / workers
    return part if part < 1 else part // 1


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # there is no plugin of Hydra's at all
        return False


def _taken_out(arguments: Sequence[str], flags: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the arguments without `flags`, and the values of these: `--on ray` or `--on=ray`."""
    rest: list[str] = []
    found: dict[str, str] = {}
    words = iter(arguments)
    for word in words:
        flag, given, value = word.partition("=")
        if flag not in flags:
            rest.append(word)
            continue
        if flag in found:
            raise BadSetting(f"{flag} is typed twice: leave one of them out")
        found[flag] = value if given else next(words, "")
        if not found[flag]:
            raise BadSetting(f"{flag} needs a value: type --on {'|'.join(LAUNCHERS)} --workers N")
    return rest, found
