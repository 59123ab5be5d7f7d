import logging
from collections.abc import Sequence

import pytest
import torch
from tests.object_store.conftest import in_memory

from kdbench.errors import CannotReach
from kdbench.storage import checksums, durable, mirror
from kdbench.storage.mirror import Mirror
from kdbench.storage.remote import Remote
from kdbench.storage.store import TENSORS, Store


def machine(outputs, url: str) -> Mirror:
    return Mirror(Remote(url, outputs), outputs)


def finished(outputs, name: str, content: bytes = b"row", more: Sequence[str] = ()):
    folder = durable.folder(outputs / "runs" / "mnist" / name)
    files = dict.fromkeys(("metrics.csv", *more), content)
    for file, written in (*files.items(), (checksums.SUMS, checksums.sums(files))):
        durable.write(folder / file, written)
    return folder


@pytest.fixture
def failing(monkeypatch):
    """A switch: with something in it, every store fails."""
    real, off = Remote._put, []

    def put(self, name, content):
        if off:
            raise ConnectionError("the network is down")
        return real(self, name, content)

    monkeypatch.setattr(Remote, "_put", put)
    return off


def test_what_cannot_be_pushed_waits_and_goes_with_the_next_that_can(tmp_path, failing, caplog, monkeypatch):
    url = in_memory()
    one = machine(tmp_path, url)
    failing.append("now")
    first, second = finished(tmp_path, "first"), finished(tmp_path, "second")
    with caplog.at_level(logging.WARNING):
        one.push(first)
        monkeypatch.setattr(mirror, "REST_SECONDS", 0.0)
        one.push(second)
    assert len(caplog.records) == 1  # once
    assert one.unpushed.startswith("2 finished runs could not be pushed to memory://")
    failing.clear()
    one.asked_again = 0.0
    one.push(finished(tmp_path, "third"))
    assert one.unpushed == ""
    assert len(Remote(url, tmp_path).places("runs")) == 3


def test_a_store_that_failed_a_moment_ago_is_left_alone(tmp_path, failing):
    one = machine(tmp_path, in_memory())
    failing.append("now")
    one.push(finished(tmp_path, "first"))
    failing.clear()
    one.push(finished(tmp_path, "second"))
    assert one.unpushed.startswith("2 finished runs")
    one.push_waiting(at_once=True)
    assert one.unpushed == ""


def test_the_next_command_pushes_what_was_left_even_if_the_process_was_killed(tmp_path, failing, monkeypatch):
    monkeypatch.setattr(mirror, "_mirrors", {})
    url = in_memory()
    failing.append("now")
    machine(tmp_path, url).push(finished(tmp_path, "first"))
    with pytest.raises(CannotReach, match="the network is down"):
        mirror.mirror(tmp_path, url)
    failing.clear()
    assert mirror.mirror(tmp_path, url).unpushed == ""
    assert mirror.settle() == []
    assert [*Remote(url, tmp_path).places("runs")] == ["runs/mnist/first"]
    assert [*(tmp_path / "unpushed").iterdir()] == []


def test_what_is_there_is_not_pushed_again_and_what_was_written_anew_is(tmp_path, monkeypatch):
    url = in_memory()
    one, pushes = machine(tmp_path, url), []
    real = Remote.push
    monkeypatch.setattr(Remote, "push", lambda self, place, *rest: (pushes.append(place), real(self, place, *rest)))
    for mirrored in (one, one, machine(tmp_path, url)):
        mirrored.push(finished(tmp_path, "first"))
    assert len(pushes) == 1
    one.push(finished(tmp_path, "first", b"another row"))
    assert len(pushes) == 2


@pytest.mark.parametrize("when", range(3))
def test_two_machines_that_push_one_run_at_a_time_leave_that_of_one_of_them(tmp_path, monkeypatch, when):
    url, real, puts = in_memory(), Remote._put, []
    one, other = (machine(tmp_path / name, url) for name in ("one", "other"))
    folders = [finished(each.outputs, "run", each.outputs.name.encode(), ["config.yaml"]) for each in (one, other)]

    def put(self, name, content):
        puts.append(name)
        if len(puts) == when + 1:
            other.push(folders[1])
        real(self, name, content)

    monkeypatch.setattr(Remote, "_put", put)
    one.push(folders[0])
    found = machine(tmp_path / "third", url).fetch(
        tmp_path / "third" / "runs/mnist/run", ["metrics.csv", "config.yaml"]
    )
    assert found["metrics.csv"] == found["config.yaml"]
    assert (one.waiting, other.waiting) == ([], [])


def test_a_store_that_alters_what_it_holds_is_said_and_nothing_counts_as_pushed(tmp_path, monkeypatch, caplog):
    real = Remote._put
    monkeypatch.setattr(Remote, "_put", lambda self, name, content: real(self, name, content.replace(b"row", b"cow")))
    one = machine(tmp_path, in_memory())
    one.push(finished(tmp_path, "first"))
    assert (
        "runs/mnist/first is not what was pushed (metrics.csv is missing, or not what SHA256SUMS says)" in caplog.text
    )
    assert "1 finished run could not be pushed" in one.unpushed


def test_a_damaged_folder_is_not_pushed(tmp_path, caplog):
    one = machine(tmp_path, in_memory())
    folder = finished(tmp_path, "first")
    (folder / "metrics.csv").write_bytes(b"altered")
    one.push(folder)
    assert one.remote.places("runs") == {}
    assert one.unpushed == ""
    assert "first is not pushed: its checksum is not the one in SHA256SUMS" in caplog.text


def made():
    return {"a": torch.arange(3.0)}, {"seconds": 2.5}


def refuse():
    pytest.fail("made again")


def store(place, url: str) -> Store:
    return Store(place / "store", mirror=machine(place, url))


def test_an_entry_of_another_machine_is_taken_to_the_last_bit(tmp_path):
    url = in_memory()
    store(tmp_path / "one", url).memo("key", "it", {"seed": 0}, made)
    entry = store(tmp_path / "other", url).memo("key", "it", {"seed": 0}, refuse)
    assert entry.was_there
    assert torch.equal(entry.tensors["a"], torch.arange(3.0))
    for path in (tmp_path / "one" / "store" / "key").iterdir():
        assert (tmp_path / "other" / "store" / "key" / path.name).read_bytes() == path.read_bytes()


def test_a_damaged_entry_there_is_refused_made_anew_and_replaced(tmp_path, caplog):
    url = in_memory()
    one = store(tmp_path / "one", url)
    one.memo("key", "it", {"seed": 0}, made)
    one.mirror.remote.files.pipe_file(f"{one.mirror.remote.root}/store/key/{TENSORS}", b"damaged")
    assert not store(tmp_path / "other", url).memo("key", "it", {"seed": 0}, made).was_there
    assert "is damaged" in caplog.text
    assert store(tmp_path / "third", url).memo("key", "it", {"seed": 0}, refuse).was_there


def test_the_entry_of_another_key_is_refused(tmp_path, caplog):
    url = in_memory()
    one = store(tmp_path / "one", url)
    one.memo("key", "it", {"seed": 0}, made)
    files = one.mirror.remote.fetch("store/key", (TENSORS, "record.json"))
    one.mirror.remote.push("store/wrong", files, files.pop(checksums.SUMS))
    assert not store(tmp_path / "other", url).memo("wrong", "it", {"seed": 0}, made).was_there
    assert "it is the entry of another key" in caplog.text


def test_what_is_to_be_made_again_is_not_fetched(tmp_path):
    url = in_memory()
    store(tmp_path / "one", url).memo("key", "it", {"seed": 0}, made)
    other = store(tmp_path / "other", url)
    other.remake = True
    assert not other.memo("key", "it", {"seed": 0}, made).was_there


def test_an_entry_is_made_where_the_store_has_none_and_does_not_answer(tmp_path, failing, monkeypatch):
    monkeypatch.setattr(Remote, "sums", lambda *_: (_ for _ in ()).throw(CannotReach("gone")))
    one = store(tmp_path, in_memory())
    assert not one.memo("key", "it", {"seed": 0}, made).was_there
    assert one.get("key") is not None
    assert one.mirror.unpushed.startswith("1 store entry could not be pushed")
