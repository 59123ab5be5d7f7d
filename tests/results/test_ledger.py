import pytest
from tests.conftest import make_row

from kdbench.cli import status
from kdbench.cli.main import main
from kdbench.errors import printable
from kdbench.results.ledger import Ledger, Outcome
from kdbench.results.row import FILE, write
from kdbench.results.run_folder import ARTIFACT, SUMMED, SUMS, sums
from kdbench.storage import durable
from kdbench.storage.checksums import checksum, seal_record


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path)


def test_commands_and_outcomes_come_back(ledger, tmp_path):
    ledger.command(["sweep", "seed=0,1"], [["seed=0"], ["seed=1"]])
    ledger.done(["seed=0"], tmp_path / "runs" / "a")
    ledger.failed(["seed=1"], "it diverged", final=True)
    [command], damaged = ledger.commands()
    assert (command.arguments, command.jobs, damaged) == (["sweep", "seed=0,1"], [["seed=0"], ["seed=1"]], [])
    assert ledger.outcome(["seed=0"]).run == "runs/a"
    assert ledger.outcome(["seed=1"]).error == "it diverged"
    assert ledger.outcome(["seed=2"]) is None


def test_a_command_given_twice_is_one(ledger):
    for _ in range(2):
        ledger.command(["sweep"], [["a=1"]])
    assert len(ledger.commands()[0]) == 1


def test_jobs_that_come_to_the_same_are_one(ledger):
    same = [
        ["model=a", "seed=1"],
        ["seed=1", "model=a"],
        ["seed=1", "model=a", "outputs=there", "again=true", "data.root=/x", "+trust=[a]", "hydra/launcher=b"],
    ]
    assert len({ledger.key(job) for job in same}) == 1
    assert (
        len({ledger.key(job) for job in (["seed=0", "compress=baseline", "threads=null"], ["data=mnist"], [])}) == 1
    )
    assert len({ledger.key(job) for job in (["model=a"], ["model=b"], ["model=a", "seed=2"], ["data=a"])}) == 4


def test_a_default_that_an_experiment_may_change_is_told_apart(ledger):
    assert ledger.key(["+experiment=a", "data=mnist"]) != ledger.key(["+experiment=a"])


def test_a_job_that_was_begun_and_one_that_would_fail_again_are_told(ledger, tmp_path):
    ledger.begun(["a=1"])
    assert ledger.outcome(["a=1"]) == Outcome(run=None, error=None)
    ledger.failed(["a=1"], "it diverged", final=True)
    ledger.begun(["a=1"])
    assert ledger.outcome(["a=1"]).error is None
    ledger.done(["a=1"], tmp_path / "runs" / "a")
    ledger.begun(["a=1"])
    assert ledger.outcome(["a=1"]).run == "runs/a"


def test_a_failure_does_not_hide_a_row_that_stands(ledger, tmp_path):
    folder = finished(tmp_path / "runs" / "a")
    ledger.done(["a=1"], folder)
    ledger.failed(["a=1", "data.root=/nowhere"], "it has no data", final=True)
    assert ledger.outcome(["a=1"]) == Outcome(run="runs/a", error="it has no data", final=True)
    assert status.state(ledger, ["a=1"]).detail.endswith("; a later try failed: it has no data")
    (folder / FILE).unlink()
    ledger.failed(["a=1"], "it diverged", final=True)
    assert ledger.outcome(["a=1"]) == Outcome(run=None, error="it diverged", final=True)


def test_damage_to_any_file_of_a_run_is_told(ledger, tmp_path):
    folder = finished(tmp_path / "runs" / "a")
    ledger.done(["a=1"], folder)
    for name in (*SUMMED, SUMS):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(b"")
        assert status.state(ledger, ["a=1"]).name == "missing"
        (folder / name).write_bytes(content)
    assert status.state(ledger, ["a=1"]).name == "done"


def test_what_a_choice_of_one_s_own_may_change_is_told_apart(ledger):
    assert ledger.key(["train=mine", "seed=0"]) != ledger.key(["train=mine"])
    assert ledger.key(["+experiment@_global_=x", "seed=0"]) != ledger.key(["+experiment@_global_=x"])


def test_a_run_of_a_name_that_no_system_takes_is_missing(ledger, tmp_path, capsys):
    ledger.command(["run"], [[]])
    ledger.done([], tmp_path / "runs" / ("a" * 300))
    assert main(["status", str(tmp_path)]) == 1
    assert "1 missing" in capsys.readouterr().out


def test_a_folder_outside_is_no_outcome(ledger, tmp_path):
    place = tmp_path / "ledger" / "jobs"
    place.mkdir(parents=True)
    for run in ("../../etc", "/etc"):
        key = ledger.key(["a=1"])
        (place / f"{key}.json").write_bytes(seal_record(key, {"run": run, "error": None}))
        assert ledger.outcome(["a=1"]) is None


@pytest.mark.parametrize(
    "record", [{"run": 3, "error": None}, {"run": "\0", "error": None}, {"run": None, "error": 1}, {}, {"run": "a"}]
)
def test_a_record_of_anyone_is_an_outcome_or_none(ledger, tmp_path, record):
    place = tmp_path / "ledger" / "jobs"
    place.mkdir(parents=True)
    key = ledger.key(["a=1"])
    (place / f"{key}.json").write_bytes(seal_record(key, record))
    assert ledger.outcome(["a=1"]) is None


@pytest.mark.parametrize(
    "record",
    [
        {"arguments": [1], "jobs": []},
        {"arguments": [], "jobs": [3]},
        {"arguments": [], "jobs": [], "when": "x"},
        {"arguments": [], "jobs": [], "when": 10**400},
        {"arguments": [], "jobs": [], "where": 3},
        {},
    ],
)
def test_a_command_of_anyone_is_read_or_named(ledger, tmp_path, record):
    place = tmp_path / "ledger" / "commands"
    place.mkdir(parents=True)
    (place / "a.json").write_bytes(seal_record("a", {"when": 0, "where": "", "outputs": ""} | record))
    commands, damaged = ledger.commands()
    assert commands == []
    assert len(damaged) == 1


def test_status_tells_done_failed_running_and_missing(ledger, tmp_path, capsys):
    jobs = [["model=a"], ["model=b"], ["model=c"], ["model=d"], ["model=e"]]
    ledger.command(["sweep", "model=a,b,c,d,e"], jobs)
    folder = finished(tmp_path / "runs" / "mnist" / "a")
    ledger.done(jobs[0], folder)
    ledger.failed(jobs[1], "the disk was full", final=False)
    ledger.done(jobs[4], tmp_path / "runs" / "mnist" / "e")
    from kdbench.storage import locks

    with locks.held(ledger.lock(jobs[2]), "c"):
        assert main(["status", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "1 done, 1 running, 1 failed, 2 missing" in out
    assert "failed   model=b: the disk was full" in out
    assert "running  model=c" in out
    assert "missing  model=d" in out
    assert f"missing  model=e: its row in {tmp_path}/runs/mnist/e is gone" in out
    assert out.rstrip().endswith("to finish it, type it again: kdbench sweep model=a,b,c,d,e")
    assert "model=a:" not in out
    assert main(["status", str(tmp_path), "--all"]) == 1
    assert f"done     model=a: 99.61%, {folder}" in capsys.readouterr().out
    ledger.begun(jobs[3])
    assert main(["status", str(tmp_path)]) == 1
    assert "missing  model=d: begun, and cut off" in capsys.readouterr().out


def finished(folder):
    """A run folder as far as status looks at it."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: name.encode() for name in SUMMED}
    for name, content in (files | {SUMS: sums(files)}).items():
        (folder / name).write_bytes(content)
    write(make_row(artifact_sha256=checksum(files[ARTIFACT])), folder)
    return folder


def test_what_would_fail_again_is_not_to_be_typed_again_and_can_be_forgotten(ledger, tmp_path, capsys):
    ledger.command(["run", "train.lr=1e9"], [["train.lr=1e9"]])
    ledger.failed(["train.lr=1e9"], "it diverged", final=True)
    ledger.command(["run"], [[]])
    ledger.done([], finished(tmp_path / "runs" / "a"))
    assert main(["status", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "to finish it" not in out
    [line] = [line for line in out.splitlines() if "--forget" in line]
    assert line.startswith(
        "what failed would fail again as it is: change its settings, or what they name, or take it off the list: "
    )
    assert main(["status", *line.rpartition("kdbench status ")[2].split()]) == 0
    out = capsys.readouterr().out
    assert "1 done" in out
    assert "train.lr" not in out


def test_what_cannot_be_forgotten_is_named(ledger, tmp_path, capsys):
    ledger.command(["run"], [[]])
    assert main(["status", str(tmp_path), "--forget", "../x"]) == 1
    assert "no command is called ../x" in capsys.readouterr().err
    assert len(ledger.commands()[0]) == 1


def test_a_folder_below_outputs_is_led_back(ledger, tmp_path, capsys):
    ledger.command(["run"], [[]])
    finished(tmp_path / "runs" / "a")
    assert main(["status", str(tmp_path / "runs")]) == 1
    assert f"give the folder above it: kdbench status {tmp_path}" in capsys.readouterr().err


def test_what_was_typed_elsewhere_is_to_be_typed_there(ledger, tmp_path, capsys, monkeypatch):
    here = tmp_path / "a b"
    here.mkdir()
    monkeypatch.chdir(here)
    ledger.command(["run"], [[]])
    monkeypatch.chdir(tmp_path)
    assert main(["status", str(tmp_path)]) == 1
    assert capsys.readouterr().out.rstrip().endswith(f"to finish it, type it again: cd '{here}' && kdbench run")
    moved = tmp_path / "moved"
    (tmp_path / "ledger").rename(durable.folder(moved) / "ledger")
    assert main(["status", "moved"]) == 1
    assert capsys.readouterr().out.rstrip().endswith(f"cd '{here}' && kdbench run outputs={moved}")


def test_a_run_whose_file_is_not_its_own_any_more_is_missing(ledger, tmp_path, capsys):
    ledger.command(["run"], [[]])
    folder = finished(tmp_path / "runs" / "a")
    ledger.done([], folder)
    (folder / ARTIFACT).write_bytes(b"another")
    assert main(["status", str(tmp_path)]) == 1
    assert f"{folder / ARTIFACT} is damaged: it is not" in capsys.readouterr().out
    (folder / ARTIFACT).unlink()
    assert main(["status", str(tmp_path)]) == 1
    assert f"{folder}: {ARTIFACT} is missing" in capsys.readouterr().out


def test_status_of_what_is_all_done_is_0(ledger, tmp_path, capsys):
    ledger.command(["run"], [[]])
    ledger.done([], finished(tmp_path))
    assert main(["status", str(tmp_path)]) == 0
    assert "to finish it" not in capsys.readouterr().out


def test_a_row_that_is_damaged_is_missing_and_a_damaged_record_is_named(ledger, tmp_path, capsys):
    ledger.command(["run"], [[]])
    write(make_row(), tmp_path)
    ledger.done([], tmp_path)
    path = tmp_path / "metrics.csv"
    path.write_text(path.read_text().replace("39", "38", 1))
    assert main(["status", str(tmp_path)]) == 1
    assert "altered since it was written" in capsys.readouterr().out
    (tmp_path / "ledger" / "commands" / "bad.json").write_text("{}")
    assert main(["status", str(tmp_path)]) == 1
    assert "bad.json" in capsys.readouterr().err


def test_what_is_told_cannot_steer_a_terminal():
    assert printable("a\x1b[2Jb") == "a?[2Jb"
