"""Locks between processes that no `flock` reaches from one to the other.

One machine plays two: beside each other, `flock` and `lockf` exclude nobody, as `flock` does not on two machines.
"""

import errno
import fcntl
import os
import subprocess
import sys
import threading
import time

import pytest
from tests.faults.shim import killed_before

from kdbench.errors import Busy, CannotWrite, LockLost
from kdbench.storage import durable, flock, leases, locks, machine, takeover

BEGINNING = """
import errno, fcntl, os, sys, time
from pathlib import Path
from kdbench.storage import flock, leases, locks, takeover
path, place, lease = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
def no_locks(*_): raise OSError(errno.ENOSYS, "no locks")
fcntl.flock = {"here": fcntl.flock, "elsewhere": fcntl.lockf, "nowhere": no_locks}[place]
if place == "elsewhere": flock.kernel = lambda: place
takeover.LEASE_SECONDS = lease
"""
HOLD = """
with locks.held(path, "the thing"):
    print("held", flush=True)
    time.sleep(float(sys.argv[4]))
"""
COUNT = """
locks.POLL_SECONDS = (0.001, 0.01)
for _ in range(int(sys.argv[4])):
    with locks.held(path, "the thing", quiet=True):
        number = int(path.with_name("number").read_text())
        time.sleep(0.0005)
        path.with_name("number").write_text(str(number + 1))
"""
LEAVE_A_FORK = """
with locks.held(path, "the thing"):
    if os.fork() == 0:
        time.sleep(float(sys.argv[4]))
        os._exit(0)
    print("held", flush=True)
    time.sleep(30)
"""


@pytest.fixture(autouse=True)
def afresh():
    """Whatever thread of an earlier test still sleeps is none of these tests'."""
    leases._forget()
    yield
    leases._forget()


@pytest.fixture
def lock(tmp_path):
    return tmp_path / "lock"


@pytest.fixture
def lease(tmp_path):
    return tmp_path / "lock.lease"


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(takeover, "LEASE_SECONDS", 0.6)
    return 0.6


@pytest.fixture
def start(lock):
    """Start a process that does something with the lock at a place."""
    started = []

    def begin(what, place, seconds, given=30.0):
        command = [sys.executable, "-c", BEGINNING + what, str(lock), place, str(seconds), str(given)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def holding(process):
    assert process.stdout.readline() == "held\n"
    return process


def kill(process):
    process.kill()
    process.wait()


def hours_off(path, hours):
    os.utime(path, (path.stat().st_mtime + 3600 * hours,) * 2)


def test_processes_of_three_kinds_of_places_exclude_each_other(lock, start, tmp_path):
    (tmp_path / "number").write_text("0")
    places = ["here", "here", "elsewhere", "elsewhere", "nowhere"]
    processes = [start(COUNT, place, 60, 30) for place in places]
    assert [process.wait() for process in processes] == [0] * len(places)
    assert (tmp_path / "number").read_text() == str(30 * len(places))
    assert {path.name for path in tmp_path.iterdir()} == {"lock", "number"}


@pytest.mark.parametrize("place", ["elsewhere", "nowhere"])
@pytest.mark.parametrize("hours", [-5, 5])
def test_who_is_gone_without_a_trace_is_followed_when_the_lease_has_run_out_by_ones_own_clock(
    lock, lease, start, quick, place, hours
):
    kill(holding(start(HOLD, place, quick)))
    hours_off(lease, hours)
    began = time.monotonic()
    with pytest.raises(Busy, match="the thing"), locks.held(lock, "the thing", wait=False):
        pass
    with locks.held(lock, "the thing"):
        assert time.monotonic() - began >= quick
        assert lease.read_text().split()[-1] == str(os.getpid())
    assert not lease.exists()


def test_what_was_seen_earlier_counts_and_who_does_not_wait_need_not_wait(lock, start, quick):
    kill(holding(start(HOLD, "elsewhere", quick)))
    with pytest.raises(Busy), locks.held(lock, "the thing", wait=False):
        pass
    time.sleep(quick)
    with locks.held(lock, "the thing", wait=False):
        pass


@pytest.mark.parametrize("hours", [-5, 5])
def test_who_lives_keeps_it_however_long_and_whatever_the_clocks(lock, lease, start, monkeypatch, hours):
    monkeypatch.setattr(takeover, "LEASE_SECONDS", 1.2)
    owner = holding(start(HOLD, "elsewhere", 1.2, 2.0))
    hours_off(lease, hours)
    with locks.held(lock, "the thing"):
        assert owner.poll() == 0 or owner.wait(0.5) == 0


def test_a_dead_owner_of_the_same_place_blocks_nobody_for_a_moment(lock, lease, start):
    kill(holding(start(HOLD, "here", 60)))
    assert lease.exists()
    assert not locks.taken(lock)
    with locks.held(lock, "the thing", wait=False):
        pass


@pytest.mark.parametrize("calls", range(5))
def test_nor_does_one_that_died_while_it_took_or_gave_back_the_lock(lock, calls):
    def take():
        with locks.held(lock, "the thing"):
            pass

    killed = killed_before(calls, take)
    assert killed == (calls < 4)  # it makes the folder, writes a draft, removes that, and the lease
    with locks.held(lock, "the thing", wait=False):
        pass
    assert list(lock.parent.iterdir()) == [lock]


@pytest.mark.parametrize("number", sorted({*takeover.NO_LINKS}))
def test_files_of_two_names_are_not_needed(lock, start, quick, monkeypatch, number):
    kill(holding(start(HOLD, "elsewhere", quick)))
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(number, os.strerror(number))))
    with locks.held(lock, "the thing"), pytest.raises(Busy), locks.held(lock, "the thing", wait=False):
        pass
    assert list(lock.parent.iterdir()) == [lock]


def test_a_fork_neither_releases_what_its_parent_holds_nor_keeps_it_when_that_dies(lock, lease, start):
    with locks.held(lock, "the thing"):
        process = os.fork()
        if process == 0:
            try:
                assert not leases._held
                raise SystemExit  # out of the context
            finally:
                os._exit(0)
        assert os.waitpid(process, 0)[1] == 0
        assert lease.exists()
        assert locks.taken(lock)
    kill(holding(start(LEAVE_A_FORK, "here", 60, 1)))
    began = time.monotonic()
    with locks.held(lock, "the thing"):  # as soon as the fork has had its first instruction
        assert time.monotonic() - began < 10


@pytest.mark.parametrize("number", sorted({*flock.MISSING}))
def test_where_there_is_no_flock_the_lease_does(lock, monkeypatch, number):
    monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(number, os.strerror(number))))
    with locks.held(lock, "the thing"):
        assert locks.taken(lock)
        with pytest.raises(Busy), locks.held(lock, "the thing", wait=False):
            pass
    assert not locks.taken(lock)


def test_of_many_who_follow_the_same_owner_one_gets_it(lease):
    contents = [f"{number:016x} 0 - \n" for number in range(1, 5)]
    barrier = threading.Barrier(len(contents), timeout=30)
    got, rounds = [], []

    def vanish():
        lease.write_text(f"{'f' * 16} 0 - \n")
        takeover._watched[lease] = (lease.read_text(), -1e9)

    def follow(content):
        for _ in range(200):
            barrier.wait()
            if takeover.put(lease, content, None):
                got.append(content)
            if barrier.wait() == 0:
                assert got == [lease.read_text()]
                assert list(lease.parent.iterdir()) == [lease]
                rounds.append(got.pop())
                vanish()

    vanish()
    threads = [threading.Thread(target=follow, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rounds) == 200
    assert len(set(rounds)) > 1


def test_one_who_comes_too_late_to_follow_leaves_the_next_owner_alone(lease, monkeypatch):
    first, second, third = (f"{letter * 16} 0 - \n" for letter in "abc")
    lease.write_text(first)
    takeover._watched[lease] = (first, -1e9)
    link = takeover.link

    def late(draft, path, content):
        if path != lease and content == third:
            monkeypatch.setattr(takeover, "link", link)
            assert takeover.put(lease, second, None)
        link(draft, path, content)

    monkeypatch.setattr(takeover, "link", late)
    assert not takeover.put(lease, third, None)
    assert lease.read_text() == second
    assert list(lease.parent.iterdir()) == [lease]


def test_who_dies_while_it_follows_is_followed_too(lock, lease, quick):
    lease.write_text("")  # it died before it had written who it is
    lease.with_name(f"{lease.name}-{'0' * 16}").write_text(f"{'a' * 16} 0 - \n")
    with locks.held(lock, "the thing"):
        pass
    assert list(lock.parent.iterdir()) == [lock]


def test_an_owner_that_was_followed_notices_writes_nothing_and_leaves_the_lease(lock, lease, quick, tmp_path):
    theirs, kept = f"{'a' * 16} 0 - \n", tmp_path / "kept"

    def trains():
        with locks.held(lock, "the thing"):
            durable.write(kept, b"mine")
            lease.unlink()
            lease.write_text(theirs)
            end = time.monotonic() + 5
            while time.monotonic() < end:
                machine.stand_still()

    def writes():
        with locks.held(tmp_path / "other", "another"):
            (tmp_path / "other.lease").unlink()
            time.sleep(quick)
            durable.write(kept, b"theirs")

    with pytest.raises(LockLost, match="the thing: this process stood still"):
        trains()
    with pytest.raises(LockLost, match="another: this process stood still"):
        writes()
    leases.require_held()  # what is over is over
    assert kept.read_bytes() == b"mine"
    assert lease.read_text() == theirs


def test_who_wakes_late_looks_before_it_goes_on(lock, lease, monkeypatch):
    with locks.held(lock, "the thing"):
        leases.require_held()
        lease.write_text(f"{'a' * 16} 0 - \n")
        leases.require_held()  # it has renewed it just now: nobody can have followed
        now = leases._clock()
        monkeypatch.setattr(leases, "_clock", lambda: now + takeover.LEASE_SECONDS)
        with pytest.raises(LockLost):
            leases.require_held()


def test_what_cannot_be_read_for_a_while_is_not_lost(lock, lease, monkeypatch):
    with locks.held(lock, "the thing"):
        before = lease.read_text()
        now, opened = leases._clock(), os.open
        monkeypatch.setattr(leases, "_clock", lambda: now + takeover.LEASE_SECONDS)
        monkeypatch.setattr(os, "open", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "no answer")))
        leases.require_held()
        assert lease.read_bytes().decode() == before
        monkeypatch.setattr(os, "open", opened)
        leases.require_held()
        assert lease.read_text() != before  # renewed, and by its owner
        assert lease.read_text().split()[0] == before.split()[0]
    assert not lease.exists()


def test_whether_it_is_taken_is_seen_from_elsewhere_and_nothing_stays(lock, lease, start, quick):
    owner = holding(start(HOLD, "elsewhere", quick))
    assert locks.taken(lock)
    kill(owner)
    os.utime(lease, (0, time.time() - 2 * quick))
    assert not locks.taken(lock)
    assert {path.name for path in lock.parent.iterdir()} == {"lock", "lock.lease"}


def test_a_full_disk_leaves_no_half_lease(lock, lease, monkeypatch):
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        with pytest.raises(CannotWrite, match="is full"), locks.held(lock, "the thing"):
            pass
    assert not lease.exists()
    with locks.held(lock, "the thing", wait=False):
        pass
