"""What a worker does, and what it says of it."""

import json
import logging
import re
import signal
import subprocess
import sys
import time

import pytest

from kdbench.cli import worker
from kdbench.cli.planned_run import PlannedRun
from kdbench.cli.reports import COMMAND, STOPPED, Report, Reports
from kdbench.errors import BadSetting, CannotWrite
from kdbench.results.ledger import Ledger
from kdbench.settings.identity import identified


@pytest.fixture
def reports(tmp_path):
    made = Reports(tmp_path / "jobs")
    made.begin()
    return made


def refused(error):
    def planned():
        logging.getLogger("kdbench.data").warning("it is somewhere else")
        logging.getLogger("kdbench.storage.locks").warning("another process is at it; waiting for it")
        raise error

    return planned


def test_a_failure_is_reported_with_its_reason_and_warnings_but_not_what_was_waited_for(tmp_path, reports, capfd):
    said = worker.perform(7, ["seed=1"], tmp_path, refused(BadSetting("no")), reports, 1)
    assert (said.typed, said.error, said.final, said.stops) == (["seed=1"], "no", True, False)
    assert said.warnings == ["it is somewhere else"]
    assert "BadSetting: no" in said.trace
    assert reports.take() == {7: said}
    assert reports.take() == {}
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("how", ["__cause__", "__context__"])
def test_a_time_limit_that_comes_while_a_library_is_imported_is_no_failure(tmp_path, reports, how):
    error = ImportError("initialization failed")  # what pybind11 makes of any exception
    setattr(error, how, SystemExit(-1))
    with pytest.raises(SystemExit):
        worker.perform(0, ["seed=1"], tmp_path, refused(error), reports, 1)
    assert reports.take() == {}
    assert Ledger(tmp_path).last_try(["seed=1"]) is None


def test_a_full_disk_stops_the_others_too(tmp_path, reports):
    said = worker.perform(0, [], tmp_path, refused(CannotWrite("full")), reports, 1)
    assert said.stops


def test_a_command_that_was_interrupted_has_no_more_runs_done(tmp_path, reports):
    reports.stop()
    assert worker.perform(0, ["seed=1"], tmp_path, refused(AssertionError), reports, 1) == Report(["seed=1"])


def test_a_machine_that_does_not_share_the_folder_says_so(tmp_path):
    elsewhere = Reports(tmp_path / "nowhere")
    with pytest.raises(
        BadSetting, match="is not where the command writes: type outputs=FOLDER with one that all mach"
    ):
        worker.perform(0, [], tmp_path, refused(BadSetting("no")), elsewhere, 1)
    said = worker.perform(0, [], tmp_path, refused(BadSetting("no")), elsewhere, 1, has_store=True)
    assert said.error == "no"  # which goes back with the job
    assert not elsewhere.folder.exists()


def test_a_machine_with_another_version_says_so(tmp_path, reports):
    (reports.folder / COMMAND).write_text(json.dumps({"release": "0.0.1"}))
    with pytest.raises(BadSetting, match=r"has kdbench .*, where the command has 0.0.1: install the same"):
        worker.perform(0, [], tmp_path, refused(BadSetting("no")), reports, 1)


@pytest.mark.parametrize("same", [True, False])
def test_code_that_was_edited_since_the_command_began_is_refused_and_may_be_tried_again(
    tmp_path, make_config, monkeypatch, same
):
    config = make_config()
    code = identified(config).code["row"] if same else "0123456789abcdef"
    reports = Reports(tmp_path / "jobs", [code])
    reports.begin()
    monkeypatch.setattr(PlannedRun, "do", lambda *_, **__: (_ for _ in ()).throw(BadSetting("done")))
    said = worker.perform(0, [], tmp_path, lambda: PlannedRun([], config), reports, 1)
    expected = "done" if same else r"the Python files, or packages, that decide this row on .* are not those that the"
    assert re.match(expected, said.error)
    assert said.final is same  # as BadSetting is, and what another try mends is not


def test_a_worker_ends_at_once_when_the_command_is_interrupted(reports):
    busy = "import sys, time; from pathlib import Path; from kdbench.cli.reports import Reports\n"
    busy += "with Reports(Path(sys.argv[1])).at_work(0): print('at it', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", busy, str(reports.folder)], stdout=subprocess.PIPE)
    process.stdout.readline()
    process.send_signal(signal.SIGINT)  # as a terminal does: it waits for the command to say so
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.2)
    began = time.monotonic()
    reports.stop()
    assert process.wait(10) == STOPPED
    assert time.monotonic() - began < 2
    process.stdout.close()


def test_a_folder_that_no_command_has_made_is_left_as_it_is(tmp_path):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "mine.txt").write_text("precious")
    with pytest.raises(BadSetting, match=r"jobs is no folder of kdbench's: type another hydra\.sweep\.dir"):
        Reports(tmp_path / "jobs").begin()
    assert (tmp_path / "jobs" / "mine.txt").read_text() == "precious"


def test_two_commands_never_report_to_one_folder(tmp_path):
    first, second = Reports(tmp_path / "jobs"), Reports(tmp_path / "jobs")
    with first.of_this_command():
        first.write(0, Report(["seed=1"], folder="x"))
        with (
            pytest.raises(BadSetting, match=r"another command has hydra.sweep.dir=\S+: type another, or none"),
            second.of_this_command(),
        ):
            pass
        assert first.take() == {0: Report(["seed=1"], folder="x")}
    with second.of_this_command():
        assert second.take() == {}
