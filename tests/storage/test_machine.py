import fcntl
import os
import stat
import threading
import time

import pytest

from kdbench.storage import machine


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(machine, "_look_at", 0.0)


def test_who_measures_is_alone_and_others_come_in_turn():
    inside = []

    def work():
        with machine.alone():
            inside.append(1)
            assert len(inside) == 1
            time.sleep(0.005)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inside == []


def test_a_training_stands_still_while_somebody_measures():
    order = []
    with machine.alone():
        thread = threading.Thread(target=lambda: (machine.stand_still(), order.append("trains")))
        thread.start()
        time.sleep(0.03)
        order.append("measured")
    thread.join()
    assert order == ["measured", "trains"]


def test_a_training_that_nobody_stops_looks_seldom(monkeypatch):
    looks = []
    monkeypatch.setattr(machine, "_opened", lambda: looks.append(1))
    for _ in range(1000):
        machine.stand_still()
    assert len(looks) == 1


def test_who_holds_the_lock_for_ever_stops_nobody(monkeypatch):
    monkeypatch.setattr(machine, "PATIENCE_SECONDS", 0.02)
    handle = machine._opened()
    fcntl.flock(handle, fcntl.LOCK_EX)
    began = time.monotonic()
    with machine.alone():
        machine.stand_still()
    machine.stand_still()  # does not look again for a while
    assert time.monotonic() - began < 1
    os.close(handle)


def test_every_user_may_hold_it_and_what_lies_in_its_place_is_left_alone(tmp_path):
    before = os.umask(0o077)
    try:
        os.close(machine._opened())
    finally:
        os.umask(before)
    assert stat.S_IMODE(machine.LOCK.stat().st_mode) == 0o644
    machine.LOCK.unlink()
    machine.LOCK.symlink_to(tmp_path / "elsewhere")
    with machine.alone():
        machine.stand_still()
    assert not (tmp_path / "elsewhere").exists()
