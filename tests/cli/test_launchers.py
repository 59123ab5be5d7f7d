"""The short forms of Hydra's launchers, and what of a machine a worker has."""

import os
import shutil
from types import SimpleNamespace

import pytest
from hydra.errors import MissingConfigException
from omegaconf import OmegaConf

from kdbench.cli import launchers
from kdbench.cli.main import main
from kdbench.cli.messages import explain
from kdbench.errors import BadSetting


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch):
    monkeypatch.setattr(launchers, "cores", lambda: 8)
    monkeypatch.setattr(launchers, "_installed", lambda package: True)
    monkeypatch.setattr(launchers.shutil, "which", lambda name: f"/usr/bin/{name}")


def composed(arguments):
    """What Hydra makes of the settings of a launcher: `hydra.launcher`."""
    settings = [one.lstrip("+").removeprefix("hydra.launcher.") for one in arguments if "launcher." in one]
    return OmegaConf.from_dotlist(settings)


@pytest.mark.parametrize(("name", "workers", "threads"), [
    ("joblib", 1, 8), ("joblib", 2, 4), ("joblib", 3, 2), ("joblib", 8, 1), ("joblib", 20, 1),
    ("ray", 1, 8), ("ray", 3, 2), ("ray", 16, 1),
])  # fmt: skip
def test_the_cores_of_a_machine_are_divided_among_its_workers(name, workers, threads):
    arguments = launchers.in_full(["-m", "--on", name, "--workers", str(workers)])
    assert launchers.threads_of(composed(arguments)) == threads
    assert launchers.workers_of(composed(arguments)) >= workers
    assert threads * workers <= max(8, workers)


def test_hydra_s_own_settings_say_it_too():
    assert launchers.threads_of(OmegaConf.create({"n_jobs": -1})) == 1
    assert launchers.threads_of(OmegaConf.create({"cpus_per_task": None})) is None  # what SLURM gives it
    assert launchers.threads_of(OmegaConf.create({"cpus_per_task": 4})) == 4
    assert launchers.threads_of(OmegaConf.create({"ray": {"remote": {}}})) == 1
    assert launchers.workers_of(OmegaConf.create({"n_jobs": -1})) == 8


def test_a_short_form_stands_for_settings_and_leaves_the_others():
    arguments = launchers.in_full(["--multirun", "seed=0,1", "--on=slurm", "--workers", "4", "threads=2"])
    assert [one for one in arguments if "launcher" not in one] == ["--multirun", "seed=0,1", "threads=2"]
    assert {"hydra/launcher=submitit_slurm", "hydra.launcher.array_parallelism=4"} < set(arguments)
    assert launchers.in_full(["seed=1"]) == ["seed=1"]


@pytest.mark.parametrize(("arguments", "message"), [
    (["--on", "rai"], "--on rai is unknown: did you mean 'ray'?"),
    (["--on"], "--on needs a value: type --on joblib|ray|slurm --workers N"),
    (["--on", "ray", "--workers", "0"], "--workers 0 is not a whole number of at least 1"),
    (["--on", "ray", "--workers", "two"], "--workers two is not a whole number of at least 1"),
    (["--workers", "2"], "--workers is for a launcher: type --on joblib|ray|slurm beside it"),
    (["--on", "ray", "--on=joblib"], "--on is typed twice: leave one of them out"),
    (["--on", "ray", "hydra/launcher=joblib"], "hydra/launcher=joblib and --on ray name two launchers: leave one of"),
])  # fmt: skip
def test_what_is_no_launcher_is_one_line(arguments, message):
    with pytest.raises(BadSetting) as error:
        launchers.in_full(["-m", *arguments])
    assert str(error.value).startswith(message)


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(launchers.shutil, "which", lambda name: None)
    with pytest.raises(BadSetting, match="--on slurm needs SLURM's sbatch, which is not here"):
        launchers.in_full(["-m", "--on", "slurm"])
    missing = MissingConfigException("", "hydra/launcher/submitit_slurm", options=["basic"])
    assert explain(missing) == "hydra/launcher=submitit_slurm is not installed: pip install 'kdbench[slurm]'"
    monkeypatch.setattr(launchers, "_installed", lambda package: False)
    with pytest.raises(BadSetting, match=r"--on ray is not installed: pip install 'kdbench\[ray\]'"):
        launchers.in_full(["-m", "--on", "ray"])


@pytest.mark.parametrize(
    ("target", "settings", "said"),
    [
        (
            "JoblibLauncher",
            {"n_jobs": 0},
            r"hydra\.launcher\.n_jobs=0 does nothing: type a whole number of at least 1",
        ),
        ("LocalLauncher", {"cpus_per_task": 0}, r"hydra\.launcher\.cpus_per_task=0 does nothing"),
        ("LocalLauncher", {"cpus_per_task": -1}, r"hydra\.launcher\.cpus_per_task=-1 does nothing"),
        ("SlurmLauncher", {}, "hydra/launcher=submitit_slurm needs SLURM's sbatch, which is not here"),
    ],
)
def test_a_launcher_that_could_do_nothing_is_refused(monkeypatch, target, settings, said):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(BadSetting, match=said):
        launchers.require_possible(OmegaConf.create({"_target_": f"plugin.{target}", **settings}))
    launchers.require_possible(OmegaConf.create({"_target_": "plugin.JoblibLauncher", "n_jobs": -1}))


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            ["--on", "joblib", "hydra.launcher.n_jobs=x"],
            "hydra.launcher.n_jobs=x: Value 'x' of type 'str' could not be",
        ),
        (
            ["hydra/launcher=joblib,ray"],
            "hydra/launcher=joblib,ray is several values, and Hydra's own settings take one",
        ),
        (["objective=foo", "seed=0,1"], "objective=foo is no column of numbers: choose from"),
    ],
)
def test_settings_of_the_whole_command_that_are_not_possible_are_one_line(tmp_path, monkeypatch, capfd, typed, said):
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", "data=mnist_5k", "model=mlp_simple", "compress=baseline", *typed]) == 1
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith(f"error: {said}")


def test_one_run_needs_no_launcher():
    with pytest.raises(BadSetting, match="--on ray is for several runs: type kdbench sweep, or kdbench run -m"):
        launchers.in_full(["--on", "ray", "seed=1"])


def test_the_gpus_of_a_machine_are_divided_too(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(launchers, "gpus", lambda: 2)
    for workers, part in ((1, 1.0), (2, 1.0), (3, 0.5), (8, 0.25)):
        ray = composed(launchers.in_full(["-m", "--on", "ray", "--workers", str(workers)]))
        assert ray.ray.remote.num_gpus == part
    joblib = composed(launchers.in_full(["-m", "--on", "joblib"]))
    for job in (3, 4):  # the second is done by the worker that has its GPU already
        launchers.take_gpu(joblib, job)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    launchers.take_gpu(ray, 3)
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


@pytest.mark.parametrize(("asked", "runs", "workers"), [(10, 2, 2), (2, 10, 2), (-1, 3, 3), (-1, 20, -1), (4, 4, 4)])
def test_there_are_no_more_workers_of_joblib_than_runs(asked, runs, workers):  # on 8 cores
    started = SimpleNamespace(joblib={"n_jobs": asked})
    launcher = OmegaConf.create({"n_jobs": asked})
    told = launchers.no_more_than(runs, started, launcher)
    assert started.joblib["n_jobs"] == launcher.n_jobs == workers
    assert told == ([] if workers == asked else [f"hydra.launcher.n_jobs={workers}"])


def test_other_launchers_start_as_many_as_they_find_work_for():
    assert launchers.no_more_than(2, None, OmegaConf.create({"array_parallelism": 64})) == []
