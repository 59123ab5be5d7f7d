import json

import pytest
from tests.conftest import make_row

from kdbench.cli import status
from kdbench.cli.main import main
from kdbench.errors import printable
from kdbench.results.ledger import LastTry, Ledger, key
from kdbench.results.row import FILE, as_csv
from kdbench.results.run_folder import ARTIFACT, FILES
from kdbench.storage import durable
from kdbench.storage.checksums import SUMS, checksum, sums


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path)


def test_commands_and_last_tries_come_back(ledger, tmp_path):
    arguments, runs = ["sweep", "seed=0,1"], [["seed=0"], ["seed=1"]]
    assert not ledger.has(arguments, runs)
    ledger.write_command(arguments, runs)
    assert ledger.has(arguments, runs)
    ledger.started(["seed=0"], tmp_path / "runs" / "a")
    ledger.failed(["seed=1"], "it diverged", final=True)
    [command], unreadable = ledger.commands()
    assert (command.arguments, command.runs, unreadable) == (arguments, runs, [])
    assert ledger.last_try(["seed=0"]) == LastTry("runs/a")
    assert ledger.last_try(["seed=1"]) == LastTry(None, "it diverged", final=True)
    assert ledger.last_try(["seed=2"]) is None


def test_a_command_given_twice_is_one(ledger):
    for _ in range(2):
        ledger.write_command(["sweep"], [["a=1"]])
    assert len(ledger.commands()[0]) == 1


def test_runs_that_come_to_the_same_are_one():
    same = [
        ["model=a", "seed=1"],
        ["seed=1", "model=a"],
        ["seed=1", "++model=a"],
        ["seed=1", "model=a", "outputs=there", "again=true", "retrain=true", "hydra/launcher=b"],
        ["seed=1", "model=a", "data.root=null"],
    ]
    assert len({key(run) for run in same}) == 1
    assert len({key(run) for run in (["seed=0", "compress=baseline", "threads=null"], ["data=mnist"], [])}) == 1
    others = (["model=a"], ["model=b"], ["model=a", "seed=2"], ["data=a"], ["model=a", "seeds_together=always"])
    assert len({key(run) for run in others}) == len(others)


def test_a_default_that_an_experiment_or_a_choice_of_ones_own_may_change_is_kept_apart():
    for changes in ("+experiment=a", "train=mine", "+experiment@_global_=x"):
        assert key([changes, "seed=0"]) != key([changes])


def test_the_next_try_takes_the_error_away_and_keeps_the_folder(ledger, tmp_path):
    ledger.started(["a=1"], tmp_path / "runs" / "a")
    ledger.failed(["a=1"], "the disk was full", final=False)
    assert ledger.last_try(["a=1"]) == LastTry("runs/a", "the disk was full")
    ledger.started(["a=1"], tmp_path / "runs" / "a")
    assert ledger.last_try(["a=1"]) == LastTry("runs/a")


def test_a_failure_does_not_hide_a_row_that_stands(ledger, tmp_path):
    folder = finished(tmp_path / "runs" / "a")
    ledger.started(["a=1"], folder)
    ledger.failed(["a=1", "again=true"], "the disk was full", final=False)
    assert status.state(ledger, ["a=1"]).name == "done"
    assert status.state(ledger, ["a=1"]).detail.endswith("; a later try failed: the disk was full")
    (folder / FILE).unlink()
    assert status.state(ledger, ["a=1"]) == status.State("failed", "the disk was full")


NOWHERE = ["a=1", "data.root=/nowhere"]


def test_a_run_that_failed_for_where_its_data_lie_is_not_done_because_another_found_them(ledger, tmp_path):
    ledger.failed(NOWHERE, "it has no data", final=True)
    for typed in (["a=1"], ["a=1", "data.root=/somewhere"]):
        assert status.state(ledger, typed).name == "missing"
    ledger.started(["a=1"], finished(tmp_path / "runs" / "a"))
    for _ in range(2):
        assert status.state(ledger, NOWHERE) == status.State("failed", "it has no data", final=True)
        assert status.state(ledger, ["a=1"]).name == "done"
        ledger.failed(NOWHERE, "it has no data", final=True)


def test_what_a_folder_holds_is_part_of_what_a_run_is():
    here, there = ["data=mine", "data.root=/here"], ["data=mine", "data.root=/there"]
    assert key(here) != key(there)
    assert key(["data=mnist_5k", *here[1:]]) == key(["data=mnist_5k", *there[1:]])


def test_where_data_lie_is_no_part_of_what_a_run_is(ledger, tmp_path):
    here, there = ["a=1", "data.root=/here"], ["a=1", "data.root=/there"]
    folder = finished(tmp_path / "runs" / "a")
    ledger.started(there, folder)
    for typed in (["a=1"], here, there):
        assert status.state(ledger, typed).name == "done"
    assert ledger.lock(here) == ledger.lock(there)  # two processes share the work
    # The failure of one is none of the other.
    (folder / FILE).unlink()
    ledger.failed(["a=1"], "no data", final=False)
    assert [status.state(ledger, typed).name for typed in (["a=1"], here, there)] == ["failed", "missing", "missing"]


def test_a_run_with_damage_to_any_of_its_files_is_missing(ledger, tmp_path):
    folder = finished(tmp_path / "runs" / "a")
    ledger.started(["a=1"], folder)
    for name in (*FILES, SUMS):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(b"")
        assert status.state(ledger, ["a=1"]).name == "missing"
        (folder / name).write_bytes(content)
    assert status.state(ledger, ["a=1"]).name == "done"


def test_a_run_of_a_name_that_no_system_takes_is_missing(ledger, tmp_path, capsys):
    ledger.write_command(["run"], [[]])
    ledger.started([], tmp_path / "runs" / ("a" * 300))
    assert main(["status", str(tmp_path)]) == 1
    assert "1 missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    "record",
    [
        '{"folder": 3, "error": null}',
        '{"folder": "\\u0000", "error": null}',
        '{"folder": null, "error": 1}',
        '{"folder": "../../etc", "error": null}',
        '{"folder": "/etc", "error": null}',
        '{"folder": "a"}',
        "[" * 100_000,
        *("{}", "[]", "", "\ud800"),
    ],
)
def test_an_unreadable_record_of_a_run_is_named_and_written_anew(ledger, tmp_path, capsys, record):
    ledger.write_command(["run"], [["a=1"]])
    path = durable.folder(tmp_path / "ledger" / "runs") / f"{key(['a=1'])}.json"
    path.write_bytes(record.encode(errors="surrogatepass"))
    assert main(["status", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert f"missing  a=1: {path} is not the record of a run" in out
    assert "the same command writes it anew" in out
    ledger.failed(["a=1"], "no data", final=False)
    assert ledger.last_try(["a=1"]) == LastTry(None, "no data")


@pytest.mark.parametrize(
    "change",
    [
        {"arguments": [1]},
        {"runs": [3]},
        {"runs": 3},
        {"when": "x"},
        {"when": 10**400},
        {"where": 3},
        {"outputs": None},
    ],
)
def test_an_unreadable_record_of_a_command_is_named_and_can_be_removed(ledger, tmp_path, capsys, change):
    place = durable.folder(tmp_path / "ledger" / "commands")
    whole = {"arguments": [], "runs": [], "when": 0, "where": "", "outputs": ""}
    (place / "a.json").write_text(json.dumps(whole | change))
    assert main(["status", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"skipped {place}/a.json: not the record of a command (")
    [line] = err.splitlines()
    assert main(["status", *line.rpartition("kdbench status ")[2].split()]) == 0
    assert ledger.commands() == ([], [])


def test_status_lists_done_failed_running_and_missing(ledger, tmp_path, capsys):
    runs = [["model=a"], ["model=b"], ["model=c"], ["model=d"], ["model=e"]]
    ledger.write_command(["sweep", "model=a,b,c,d,e"], runs)
    folder = finished(tmp_path / "runs" / "mnist" / "a")
    ledger.started(runs[0], folder)
    ledger.failed(runs[1], "the disk was full", final=False)
    ledger.started(runs[4], tmp_path / "runs" / "mnist" / "e")
    from kdbench.storage import locks

    with locks.held(ledger.lock(runs[2]), "c"):
        assert main(["status", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "1 done, 1 running, 1 failed, 2 missing" in out
    assert "failed   model=b: the disk was full" in out
    assert "running  model=c" in out
    assert "missing  model=d" in out
    assert f"missing  model=e: not finished: {tmp_path}/runs/mnist/e holds no metrics.csv" in out
    assert out.rstrip().endswith("to finish it, type it again: kdbench sweep model=a,b,c,d,e")
    assert "model=a:" not in out
    assert main(["status", str(tmp_path), "--all"]) == 1
    assert f"done     model=a: 99.61%, {folder}" in capsys.readouterr().out


def finished(folder):
    """A run folder as far as status looks at it."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: name.encode() for name in FILES}
    files[FILE] = as_csv(make_row(artifact_sha256=checksum(files[ARTIFACT])))
    for name, content in (files | {SUMS: sums(files)}).items():
        (folder / name).write_bytes(content)
    return folder


def test_what_would_fail_again_is_not_to_be_typed_again_and_can_be_forgotten(ledger, tmp_path, capsys):
    ledger.write_command(["run", "train.lr=1e9"], [["train.lr=1e9"]])
    ledger.failed(["train.lr=1e9"], "it diverged", final=True)
    ledger.write_command(["run"], [[]])
    ledger.started([], finished(tmp_path / "runs" / "a"))
    assert main(["status", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "to finish it" not in out
    *_, reason, line = out[: out.index("\n\n")].splitlines()
    assert reason == "what failed would fail again: change its settings, or take it off this list:"
    assert line.startswith(f"  kdbench status {tmp_path} --forget ")
    assert main(["status", *line.rpartition("kdbench status ")[2].split()]) == 0
    out = capsys.readouterr().out
    assert "1 done" in out
    assert "train.lr" not in out


def test_what_cannot_be_forgotten_is_named(ledger, tmp_path, capsys):
    ledger.write_command(["run"], [[]])
    assert main(["status", str(tmp_path), "--forget", "../x"]) == 1
    assert "no command is called ../x" in capsys.readouterr().err
    assert len(ledger.commands()[0]) == 1


def test_a_folder_below_outputs_is_led_back(ledger, tmp_path, capsys):
    ledger.write_command(["run"], [[]])
    finished(tmp_path / "runs" / "a")
    assert main(["status", str(tmp_path / "runs")]) == 1
    assert f"give the folder above it: kdbench status {tmp_path}" in capsys.readouterr().err


def test_what_was_typed_elsewhere_is_to_be_typed_there(ledger, tmp_path, capsys, monkeypatch):
    here = tmp_path / "a b"
    here.mkdir()
    monkeypatch.chdir(here)
    ledger.write_command(["run"], [[]])
    monkeypatch.chdir(tmp_path)
    assert main(["status", str(tmp_path)]) == 1
    assert capsys.readouterr().out.rstrip().endswith(f"to finish it, type it again: cd '{here}' && kdbench run")
    moved = tmp_path / "moved"
    (tmp_path / "ledger").rename(durable.folder(moved) / "ledger")
    assert main(["status", "moved"]) == 1
    assert capsys.readouterr().out.rstrip().endswith(f"cd '{here}' && kdbench run outputs={moved}")


def test_a_run_whose_file_is_not_its_own_any_more_is_missing(ledger, tmp_path, capsys):
    ledger.write_command(["run"], [[]])
    folder = finished(tmp_path / "runs" / "a")
    ledger.started([], folder)
    (folder / ARTIFACT).write_bytes(b"another")
    assert main(["status", str(tmp_path)]) == 1
    assert f"{folder / ARTIFACT} is damaged: its checksum is not" in capsys.readouterr().out
    (folder / ARTIFACT).unlink()
    assert main(["status", str(tmp_path)]) == 1
    assert f"{ARTIFACT} is missing" in capsys.readouterr().out


def test_status_of_what_is_all_done_is_0(ledger, tmp_path, capsys):
    ledger.write_command(["run"], [[]])
    ledger.started([], finished(tmp_path))
    assert main(["status", str(tmp_path)]) == 0
    assert "to finish it" not in capsys.readouterr().out


def test_a_row_that_is_damaged_is_missing(ledger, tmp_path, capsys):
    ledger.write_command(["run"], [[]])
    ledger.started([], finished(tmp_path))
    path = tmp_path / "metrics.csv"
    path.write_text(path.read_text().replace("39", "38", 1))
    assert main(["status", str(tmp_path)]) == 1
    assert "metrics.csv is damaged: its checksum is not the one in SHA256SUMS" in capsys.readouterr().out


def test_what_is_printed_cannot_steer_a_terminal():
    assert printable("a\x1b[2Jb") == "a?[2Jb"


def test_what_a_command_launched_in_parts_is_one_command(tmp_path):
    ledger = Ledger(tmp_path)
    for name in ("teacher", "student"):
        ledger.write_command(["reproduce", "hinton2015"], [[f"model={name}", "seed=0"], [f"model={name}", "seed=1"]])
    ledger.write_command(["sweep"], [["model=a"]])
    ledger.write_command(["sweep"], [["model=b"]])
    commands, _ = ledger.commands()
    assert [len(command.runs) for command in commands] == [4, 1, 1]
    ledger.forget(commands[0].name)
    assert [command.arguments for command in ledger.commands()[0]] == [["sweep"], ["sweep"]]
