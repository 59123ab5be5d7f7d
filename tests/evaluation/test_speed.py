"""Files with a clock of their own: a call takes what its file says, times what the machine does to it just then."""

import itertools
import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kdbench.evaluation import passes, speed
from kdbench.storage import machine

AS_SHIPPED = {name: getattr(speed, name) for name in ("SECONDS", "WARM_UP_SECONDS", "PASSES", "THROUGHPUT_BATCH")}
IMAGES = np.zeros((3, 3, 8, 8), np.float32)  # fewer than a batch


class Clock:
    """Seconds that pass only while a file runs; `slow(seconds)` is how much slower the machine is then."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slow = lambda seconds: 1.0
        self.ran = lambda seconds: 1.0  # share of the time in which the thread had a processor
        self.had = 0.0
        self.calls = []

    def session(self, content, threads):
        def run(images):
            cost = float(content) * len(images) / (1 + 0.5 * (threads - 1))  # two threads: half as fast again
            took = cost * self.slow(self.seconds)
            self.had += took * self.ran(self.seconds)
            self.seconds += took
            self.calls.append((content, threads, len(images)))

        return run


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    now = SimpleNamespace(perf_counter=lambda: clock.seconds, thread_time=lambda: clock.had)
    monkeypatch.setattr(passes, "time", now)
    for name in ("processor_time", "processors_time"):
        monkeypatch.setattr(passes, name, lambda: (clock.had, clock.seconds))
    for name, value in AS_SHIPPED.items():  # tests of other things use less
        monkeypatch.setattr(speed, name, value)
    monkeypatch.setattr(speed, "session", clock.session)
    monkeypatch.setattr(speed, "LEAST_SHARE", 0.9)
    monkeypatch.setattr(speed, "time", SimpleNamespace(sleep=lambda seconds: None))
    return clock


def test_latency_is_of_one_image_on_one_thread_and_throughput_of_a_batch_though_there_are_fewer_images(clock):
    found = speed.measure(b"1e-3", b"2e-3", IMAGES, threads=1)
    uncounted = {(1, passes.SETTLING)}
    assert {(threads, size) for _, threads, size in clock.calls} - uncounted == {(1, 1), (1, 256)}
    assert found.latency_min_ms == pytest.approx(1)
    assert found.latency_min_ms <= found.latency_ms <= found.latency_p90_ms
    assert found.throughput == pytest.approx(1000)
    assert (found.speedup, found.throughput_ratio, found.cpu_share) == (pytest.approx(2), pytest.approx(2), 1)


def test_a_drift_of_the_machine_cancels_where_it_hits_both(clock):
    clock.slow = lambda seconds: 1 + seconds  # ever slower: twice as slow after a second
    found = speed.measure(b"1e-5", b"2e-5", IMAGES, threads=1)
    assert found.speedup == pytest.approx(2, rel=0.05)
    assert found.throughput_ratio == pytest.approx(2, rel=0.05)
    assert found.speedup_low < found.speedup < found.speedup_high
    assert found.latency_min_ms < found.latency_ms < found.latency_p90_ms
    assert found.latency_p90_ms > 1.3 * found.latency_min_ms


def test_calls_that_somebody_interrupts_do_not_move_the_speedup(clock):
    hit = itertools.cycle([1, 1, 9, 1, 1])
    clock.slow = lambda seconds: next(hit)
    found = speed.measure(b"1e-3", b"2e-3", IMAGES, threads=1)
    assert found.speedup == pytest.approx(2)
    assert found.latency_ms == pytest.approx(1)


def test_an_uncompressed_network_is_as_fast_as_itself_whatever_happens(clock):
    random = np.random.default_rng(0)
    clock.slow = lambda seconds: random.uniform(1, 5)
    found = speed.measure(b"1e-3", b"1e-3", IMAGES, threads=1)
    ratios = [value for name, value in vars(found).items() if "ratio" in name or "speedup" in name]
    assert ratios == [1] * 6


@pytest.mark.parametrize(("shared", "own"), [(0.02, 0.2), (0.2, 0.02)])
def test_the_faster_of_a_batch_on_all_threads_and_a_batch_on_each_counts(monkeypatch, shared, own):
    """Of each file, whatever it is; timed for real, since threads have no clock of their own."""
    monkeypatch.setattr(speed, "SECONDS", 0.0)
    monkeypatch.setattr(speed, "WARM_UP_SECONDS", 0.0)

    def session(content, threads):
        seconds = shared if threads == 2 else own
        return lambda images: time.sleep(seconds if len(images) > 1 else 0)

    monkeypatch.setattr(speed, "session", session)
    found = speed.measure(b"", b"", IMAGES, threads=2)
    fastest = max(1 / shared, 2 / own) * speed.THROUGHPUT_BATCH
    assert 0.5 * fastest < found.throughput <= fastest  # of long sleeps: a busy machine wakes a sleeper late


def test_a_disturbed_file_is_tried_again_and_has_no_times_if_it_stays_so(clock):
    disturbed = [0.5, 0.5, 1.0]
    tries = iter(disturbed)
    clock.ran = lambda seconds: share[0]
    share = [next(tries)]
    speed.time.sleep = lambda seconds: share.__setitem__(0, next(tries))
    found = speed.measure(b"1e-3", b"2e-3", IMAGES, threads=1)
    assert found.latency_ms == pytest.approx(1)
    assert found.cpu_share == pytest.approx(1)
    tries = iter([0.5, 0.5])
    share[0] = 0.5
    found = speed.measure(b"1e-3", b"2e-3", IMAGES, threads=1)
    assert found.cpu_share == pytest.approx(0.5)
    assert {value for name, value in vars(found).items() if name != "cpu_share"} == {None}


def test_nobody_else_times_anything_meanwhile(clock, monkeypatch):
    inside = []
    monkeypatch.setattr(machine, "PATIENCE_SECONDS", 0.0)

    def session(content, threads):
        handle = machine._opened()
        inside.append(machine._had(handle, machine.fcntl.LOCK_SH))
        machine.os.close(handle)
        return clock.session(content, threads)

    monkeypatch.setattr(speed, "session", session)
    speed.measure(b"1e-3", b"1e-3", IMAGES, threads=1)
    assert set(inside) == {False}


def test_every_thread_runs_its_own_batch_and_all_of_their_calls_count():
    way = passes.Way(lambda images: None, np.zeros((4, 1)), workers=3)
    found = way.run(0.0, calls=2)
    assert len(found.calls) >= 6
    assert found.rate > 0
    assert 0 < found.ran <= found.wanted + 1e-9


def test_a_thread_that_waits_for_a_processor_wants_one(monkeypatch, tmp_path):
    stat = tmp_path / "schedstat"
    monkeypatch.setattr(passes, "SCHEDSTAT", stat)
    monkeypatch.setattr(passes, "time", SimpleNamespace(thread_time=lambda: 2.0, perf_counter=lambda: 7.0))
    assert passes.processor_time() == (2.0, 7.0)  # elsewhere: all the time
    stat.write_text("2000000000 500000000 17\n")
    assert passes.processor_time() == (2.0, 2.5)
    stat.write_text("0 0 0\n")  # a kernel that does not count
    assert passes.processor_time() == (2.0, 7.0)


def test_calls_that_wait_for_threads_of_the_same_process_are_disturbed(clock):
    clock.slow = lambda seconds: 10 if int(seconds * 1e4) % 3 else 1  # two calls in three
    found = speed.timed([b"1"], np.zeros((speed.THROUGHPUT_BATCH, 1)), 1)
    assert found.latency_ms is None


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system does not say where threads run")
def test_the_files_of_one_turn_run_on_one_processor_and_the_process_stays_free(monkeypatch):
    seen, before = [], os.sched_getaffinity(0)

    def run(images):
        seen.append((threading.get_ident(), frozenset(os.sched_getaffinity(0))))

    first, second = (passes.Way(run, np.zeros((1, 1)), workers=1) for _ in range(2))
    one = first.run(0.0, calls=3)
    other = second.run(0.0, calls=3, places=one.places)
    [place] = one.places
    assert other.places == one.places
    assert [where for _, where in seen[1:]] == [frozenset({place})] * 6
    assert os.sched_getaffinity(0) == before


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system does not say where threads run")
def test_threads_side_by_side_have_a_processor_each_as_far_as_there_are_enough(monkeypatch):
    monkeypatch.setattr(passes, "here", lambda: min(os.sched_getaffinity(0)))  # all begin on one
    count = len(os.sched_getaffinity(0))
    found = passes.Way(lambda images: None, np.zeros((1, 1)), workers=count + 1).run(0.0).places
    assert set(found) == {*os.sched_getaffinity(0), None}
    assert len(found) == count + 1


def test_where_the_system_refuses_threads_run_where_they_run(monkeypatch):
    monkeypatch.setattr(passes, "STAT", Path("nowhere"))
    monkeypatch.setattr(passes, "processors", set)
    assert passes.Way(lambda images: None, np.zeros((1, 1))).run(0.0).places == (None,)

    def refused(*_):
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", refused, raising=False)
    passes.stay_on(0)
