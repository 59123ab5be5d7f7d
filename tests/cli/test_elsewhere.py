"""Runs that workers do: handed out, told of, and handed out again if a worker is lost; with launchers made here."""

import threading

import pytest
from hydra.core.utils import JobReturn, JobStatus

from kdbench.cli import elsewhere
from kdbench.cli.elsewhere import Elsewhere, Limits
from kdbench.cli.invocation import Invocation
from kdbench.cli.reports import Report, Reports
from kdbench.errors import BadSetting, KdbenchError
from kdbench.storage import locks

RUNS = {("seed=0",): ["seed=0", "hydra"], ("seed=1",): ["seed=1", "hydra"], ("seed=2",): ["seed=2", "hydra"]}


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(elsewhere, "LOOK_SECONDS", 0.01)


class Told(Invocation):
    """Remembers what it is told, in the place of printing it."""

    def __init__(self):
        super().__init__(["sweep"])
        self.ended, self.again = [], []

    def reported(self, report, outputs, remote=None):
        self.ended.append((tuple(report.typed), report.error))
        self.stopped |= report.stops

    def fail(self, error, typed, ledger=None):
        self.ended.append((tuple(typed), str(error)))

    def take_untimed(self):
        again, self.again = self.again, []
        return again


class Launcher:
    """Does in turn what each of `launches` says: a function of the reports, the jobs, and the number of the first."""

    def __init__(self, folder, *launches):
        self.reports = Reports(folder / "jobs")
        self.launches = list(launches)
        self.handed_out = []
        self.invocation = Told()
        self.work = Elsewhere(self.invocation, folder, None, self.reports, self)

    def __call__(self, jobs, first):
        self.handed_out.append([job[0] for job in jobs])
        return self.launches.pop(0)(self.reports, jobs, first)

    def do(self, **limits):
        self.work.do(RUNS, Limits(**limits))
        return self.invocation.ended


def begin(reports, number):
    (reports.folder / f"{number}.begun").touch()


def doing(*which, error=None, stops=False):
    """A launch in which only some of the jobs end; then it breaks, if not all do."""

    def launch(reports, jobs, first):
        for number, job in enumerate(jobs):
            begin(reports, first + number)
            if not which or number in which:
                reports.write(
                    first + number, Report([job[0]], folder=None if error else "x", error=error, stops=stops)
                )
        if which and len(which) < len(jobs):
            raise RuntimeError("a worker was killed")
        return []

    return launch


def nothing(reports, jobs, first):
    begin(reports, first)
    raise RuntimeError("a worker was killed")


def test_every_run_is_handed_out_and_told_of_once(tmp_path):
    launcher = Launcher(tmp_path, doing())
    assert launcher.do() == [(run, None) for run in RUNS]
    assert launcher.handed_out == [["seed=0", "seed=1", "seed=2"]]
    assert not launcher.reports.folder.exists()


def test_what_a_lost_worker_left_is_handed_out_again_and_nothing_else(tmp_path):
    launcher = Launcher(tmp_path, doing(1), nothing, doing())
    assert sorted(launcher.do()) == [(run, None) for run in RUNS]
    assert launcher.handed_out[:2] == [["seed=0", "seed=1", "seed=2"], ["seed=0", "seed=2"]]
    assert launcher.handed_out[2] == ["seed=2", "seed=0"]  # which was begun each time, and may be why


def test_a_run_that_takes_its_worker_with_it_every_time_fails_and_the_others_are_done(tmp_path):
    def poison(reports, jobs, first):
        for number, (typed, _) in enumerate(jobs, first):
            begin(reports, number)
            if typed == "seed=0":
                raise MemoryError("killed")
            reports.write(number, Report([typed], folder="x"))
        return []

    launcher = Launcher(tmp_path, *[poison] * 3)
    told = dict(launcher.do())
    assert told.pop(("seed=0",)).startswith("its worker ends before it does: out of memory")
    assert told == {("seed=1",): None, ("seed=2",): None}


@pytest.mark.parametrize("tries", [3, 10])
def test_workers_that_are_killed_before_they_begin_are_tried_again(tmp_path, tries):
    class TerminatedWorkerError(RuntimeError):  # joblib's
        pass

    def killed(reports, jobs, first):
        raise TerminatedWorkerError("A worker was terminated. Perhaps")

    launcher = Launcher(tmp_path, *[killed] * (tries - 1), doing())
    assert launcher.do(tries=tries) == [(run, None) for run in RUNS]
    given_up = Launcher(tmp_path, *[killed] * tries)
    why = "TerminatedWorkerError: A worker was terminated. Perhaps (HYDRA_FULL_ERROR=1 shows where)"
    assert {error for _, error in given_up.do(tries=tries)} == {f"its worker ends before it does: {why}"}


def test_runs_that_were_not_handed_out_do_not_fail_with_those_whose_workers_cannot_begin(tmp_path):
    def never(reports, jobs, first):
        return []

    launcher = Launcher(tmp_path, never, never, never, doing(), doing())
    told = dict(launcher.do(in_a_launch=1))
    assert [run for run, error in told.items() if error] == [("seed=0",)]


def test_on_machines_that_come_and_go_more_tries_can_be_typed(tmp_path):
    def lost(reports, jobs, first):
        for number, _ in enumerate(jobs, first):
            begin(reports, number)
        return []

    launcher = Launcher(tmp_path, *[lost] * 9, doing())
    assert launcher.do(tries=10) == [(run, None) for run in RUNS]


@pytest.mark.parametrize("limits", [{"tries": 0}, {"tries": None}, {"in_a_launch": 0}, {"in_a_launch": "two"}])
def test_limits_with_which_nothing_is_done_are_refused(limits):
    with pytest.raises(
        BadSetting, match=r"hydra\.sweeper\.(tries|max_batch_size)=\w+ does nothing: type a whole number"
    ):
        Limits(**limits).require_possible()


def test_launches_in_which_nothing_is_begun_come_to_an_end(tmp_path):
    def lost(reports, jobs, first):
        return []

    launcher = Launcher(tmp_path, lost, lost, lost)
    assert launcher.do() == [(run, "its worker ends before it does: a worker was lost") for run in RUNS]


def test_reports_of_an_earlier_command_or_of_other_jobs_do_not_count(tmp_path):
    old = Reports(tmp_path / "jobs")
    old.begin()
    old.stop()
    old.write(0, Report(["seed=7"], folder="x"))

    def launch(reports, jobs, first):
        assert not reports.stopped
        reports.write(99, Report(["seed=0"], folder="x"))
        reports.write(first + 1, Report(["seed=0"], folder="x"))
        reports.write(first, Report(["seed=0"]))  # not begun: the command was interrupted
        (reports.folder / "77.report").write_text("{")
        return doing()(reports, jobs, first)

    assert Launcher(tmp_path, launch, doing()).do() == [(run, None) for run in RUNS]


def test_what_goes_wrong_while_it_is_told_is_raised(tmp_path, monkeypatch):
    launcher = Launcher(tmp_path, doing())
    monkeypatch.setattr(launcher.invocation, "reported", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        launcher.do()
    assert launcher.reports.stopped


def test_a_launcher_that_cannot_start_is_one_error_and_nothing_is_tried_again(tmp_path):
    def broken(reports, jobs, first):
        raise RuntimeError("no such partition")

    launcher = Launcher(tmp_path, broken)
    with pytest.raises(KdbenchError, match="no worker could be started: RuntimeError: no such partition"):
        launcher.do()
    assert launcher.invocation.ended == []


def test_at_most_so_many_are_handed_out_at_once(tmp_path):
    launcher = Launcher(tmp_path, doing(), doing())
    assert launcher.do(in_a_launch=2) == [(run, None) for run in RUNS]
    assert launcher.handed_out == [["seed=0", "seed=1"], ["seed=2"]]


def test_a_disk_that_is_full_stops_the_workers_and_nothing_is_begun_any_more(tmp_path):
    launcher = Launcher(tmp_path, doing(0, error="the disk is full", stops=True))
    assert launcher.do() == [(("seed=0",), "the disk is full")]
    assert launcher.reports.stopped


def test_what_others_disturbed_is_timed_once_more(tmp_path):
    launcher = Launcher(tmp_path, doing(), doing())
    launcher.invocation.again = [("seed=1",)]
    assert launcher.do()[-1] == (("seed=1",), None)
    assert launcher.handed_out[1:] == [["seed=1"]]


def test_what_still_runs_after_a_launch_broke_is_waited_for_and_not_handed_out_again(tmp_path):
    over = threading.Event()

    def breaks(reports, jobs, first):
        begin(reports, first)

        def worker():
            with locks.held(launcher.work.ledger.lock(["seed=0"]), "a run"):
                over.wait(0.3)
                reports.write(first, Report(["seed=0"], folder="x"))

        threading.Thread(target=worker).start()
        while not locks.taken(launcher.work.ledger.lock(["seed=0"])):
            pass
        raise RuntimeError("the first of the others was lost")

    launcher = Launcher(tmp_path, breaks, doing())
    assert sorted(launcher.do()) == [(run, None) for run in RUNS]
    assert launcher.handed_out[1] == ["seed=1", "seed=2"]


def test_a_report_or_an_error_may_come_with_the_job_itself(tmp_path):
    def launch(reports, jobs, first):
        done = [JobReturn(status=JobStatus.COMPLETED) for _ in jobs[:2]]
        done[0].return_value, done[1].return_value = (Report([f"seed={n}"], folder="x") for n in (0, 1))
        lost = JobReturn(status=JobStatus.FAILED)
        lost.return_value = BadSetting("outputs= is not shared")
        return [*done, lost]

    def again(reports, jobs, first):
        assert len(jobs) == 1
        lost = JobReturn(status=JobStatus.FAILED)
        lost.return_value = BadSetting("outputs= is not shared")
        return [lost]

    told = Launcher(tmp_path, launch, again, again, again).do()
    assert told[:2] == [(("seed=0",), None), (("seed=1",), None)]
    assert told[2:] == [(("seed=2",), "its worker ends before it does: outputs= is not shared")]


def test_an_interrupted_command_stops_its_workers(tmp_path):
    def interrupted(reports, jobs, first):
        raise KeyboardInterrupt

    launcher = Launcher(tmp_path, interrupted)
    with pytest.raises(KeyboardInterrupt):
        launcher.do()
    assert launcher.reports.stopped


@pytest.mark.parametrize(
    ("why", "said"),
    [
        ("Terminated: A worker was terminated. This could be (a) or (b)", "Terminated: A worker was terminated"),
        ("a worker was lost", "a worker was lost"),
    ],
)
def test_of_why_a_worker_was_lost_the_first_sentence_is_said(why, said):
    assert elsewhere.in_short(why) == said
