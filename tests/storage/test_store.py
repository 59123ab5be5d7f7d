import contextlib
import errno
import json
import multiprocessing
import shutil
import threading
import time

import pytest
import torch
from tests.faults.shim import failing, killed_before

from kdbench.errors import BadSetting, Busy, CannotWrite
from kdbench.storage import checksums, durable, locks, store
from kdbench.storage.store import RECORD, TENSORS, Store

IDENTITY = {"seed": 0}
FILES = {TENSORS, RECORD, checksums.SUMS}


@pytest.fixture
def kept(tmp_path, monkeypatch) -> Store:
    monkeypatch.setattr(store, "_remade", set())
    return Store(tmp_path / "store")


def made(number: float = 1.0):
    return {"a": torch.full((3,), number), "b": torch.tensor(number)}, {"seconds": 2.5, "number": number}


def refuse():
    pytest.fail("made again")


def names(kept: Store) -> set[str]:
    return {path.name for path in kept.folder.iterdir()} - {"locks"}


def test_what_was_made_once_is_taken_from_the_folder_to_the_last_bit(kept):
    random = torch.Generator().manual_seed(0)
    tensors = {
        "float": torch.randn(7, 10, generator=random),
        "low": torch.randn(5, generator=random).bfloat16(),
        "bytes": torch.arange(256, dtype=torch.uint8),
        "number": torch.tensor(3),
        "turned": torch.randn(4, 3, generator=random).T,
    }
    first = kept.memo("key", "it", IDENTITY, lambda: (tensors, {"seconds": 0.1}))
    again = Store(kept.folder).memo("key", "it", IDENTITY, refuse)
    assert not first.was_there
    assert again.was_there
    assert again.record["seconds"] == 0.1
    assert again.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert again.tensors[name].dtype == tensor.dtype
        assert torch.equal(again.tensors[name], tensor)


def test_an_entry_says_what_its_key_is_a_hash_of(kept):
    kept.memo("key", "it", IDENTITY, made)
    record = json.loads((kept.folder / "key" / RECORD).read_text())
    assert record["identity"] == IDENTITY
    assert record["key"] == "key"


def test_what_was_never_made_is_not_there(kept):
    assert kept.get("key") is None
    assert not kept.has("key")
    kept.memo("key", "it", IDENTITY, made)
    assert kept.has("key")
    assert kept.get("other") is None


def test_what_cannot_be_made_leaves_nothing_and_lets_go_of_the_lock(kept):
    def fail():
        raise ValueError("diverged")

    with pytest.raises(ValueError, match="diverged"):
        kept.memo("key", "it", IDENTITY, fail)
    assert names(kept) == set()
    assert not kept.memo("key", "it", IDENTITY, made, wait=False).was_there


def test_threads_that_ask_at_once_make_it_once(kept):
    made_by, entries = [], []

    def slowly():
        made_by.append(threading.get_ident())
        time.sleep(0.1)
        return made()

    def ask():
        entries.append(Store(kept.folder).memo("key", "it", IDENTITY, slowly))

    asking = [threading.Thread(target=ask) for _ in range(6)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert len(made_by) == 1
    assert sorted(entry.was_there for entry in entries) == [False] + [True] * 5
    assert names(kept) == {"key"}


def ask_in_a_process(kept: Store, log):
    def slowly():
        with log.open("a") as file:
            file.write("made\n")
        time.sleep(0.2)
        return made()

    assert kept.memo("key", "it", IDENTITY, slowly).record["number"] == 1.0


def test_processes_that_ask_at_once_make_it_once(kept, tmp_path):
    fork = multiprocessing.get_context("fork")
    asking = [fork.Process(target=ask_in_a_process, args=(kept, tmp_path / "log")) for _ in range(3)]
    for process in asking:
        process.start()
    for process in asking:
        process.join(20)
    assert [process.exitcode for process in asking] == [0] * 3
    assert (tmp_path / "log").read_text() == "made\n"
    assert kept.get("key") is not None


def test_it_looks_again_once_it_has_the_lock(kept, monkeypatch):
    """Between the first look and the lock another process may have made it, and have let go already."""
    held = locks.held

    def after_another(*given, **options):
        monkeypatch.setattr(locks, "held", held)
        Store(kept.folder).memo("key", "it", IDENTITY, made)
        return held(*given, **options)

    monkeypatch.setattr(locks, "held", after_another)
    assert kept.memo("key", "it", IDENTITY, refuse).was_there


def test_who_will_not_wait_gets_busy(kept):
    with locks.held(kept.folder / "locks" / "key", "another"), pytest.raises(Busy, match="it: another process"):
        kept.memo("key", "it", IDENTITY, made, wait=False)


def flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("name", [TENSORS, RECORD, checksums.SUMS])
@pytest.mark.parametrize(
    "damage",
    [flipped, lambda content: content[:-1], lambda content: b"", lambda content: b"[]", None],
    ids=["flipped", "cut", "empty", "another", "missing"],
)
def test_what_is_damaged_is_set_aside_reported_and_made_again(kept, name, damage, caplog):
    kept.memo("key", "it", IDENTITY, made)
    path = kept.folder / "key" / name
    before = path.read_bytes()
    path.unlink()
    if damage:
        path.write_bytes(damage(before))
    assert not kept.memo("key", "it", IDENTITY, lambda: made(2.0)).was_there
    assert "key is damaged" in caplog.text
    assert kept.get("key").record["number"] == 2.0
    assert names(kept) == {"key", "key.damaged-1"}
    assert {path.name for path in (kept.folder / "key").iterdir()} == FILES


@pytest.mark.parametrize("kind", ["dead link", "file", "empty folder"])
def test_what_is_no_entry_at_all_is_damage_too(kept, kind):
    kept.folder.mkdir()
    place = kept.folder / "key"
    {"dead link": lambda: place.symlink_to("nowhere"), "file": place.touch, "empty folder": place.mkdir}[kind]()
    assert not kept.memo("key", "it", IDENTITY, made).was_there
    assert kept.memo("key", "it", IDENTITY, refuse).was_there
    assert names(kept) == {"key", "key.damaged-1"}


def test_an_entry_in_the_place_of_another_is_no_entry(kept, caplog):
    for number, key in enumerate(("one", "other")):
        kept.memo(key, "it", IDENTITY, lambda number=number: made(number))
    shutil.rmtree(kept.folder / "one")
    (kept.folder / "other").rename(kept.folder / "one")
    assert not kept.memo("one", "it", IDENTITY, lambda: made(3.0)).was_there
    assert "one is damaged (it is the entry of another key)" in caplog.text
    assert kept.get("one").record["number"] == 3.0


def test_a_file_of_another_entry_is_noticed(kept):
    for number, key in enumerate(("one", "other")):
        kept.memo(key, "it", IDENTITY, lambda number=number: made(number))
    shutil.copy(kept.folder / "other" / TENSORS, kept.folder / "one" / TENSORS)
    assert kept.get("one") is None


def test_a_kill_at_any_moment_leaves_a_whole_entry_or_none_and_the_next_leaves_no_draft(kept):
    number = 0
    while killed_before(number, lambda: kept.memo("key", "it", IDENTITY, made)):
        there = kept.has("key")
        entry = Store(kept.folder).memo("key", "it", IDENTITY, lambda: made(2.0))
        assert entry.was_there is there
        assert names(kept) == {"key"}, number
        shutil.rmtree(kept.folder)
        number += 1
    assert number > 9  # mkdir, three files in a folder of its own, and the rename


@pytest.mark.parametrize("call", ["write", "fsync", "rename", "mkdir"])
def test_a_failing_disk_leaves_no_half_entry(kept, call):
    kept.memo("other", "it", IDENTITY, made)
    failures = 0
    while True:
        with failing(call, errno.ENOSPC, kept.folder, failures) as failed, contextlib.suppress(CannotWrite):
            kept.memo("key", "it", IDENTITY, made)
        if not failed:
            break
        assert names(kept) == {"other"}
        failures += 1
    assert failures
    assert names(kept) == {"other", "key"}


def test_drafts_of_killed_processes_are_removed_by_who_makes_the_same(kept):
    for key in ("key", "other"):
        (kept.folder / f"{durable.DRAFT}{key}-abc").mkdir(parents=True)
    kept.memo("key", "it", IDENTITY, made)
    assert names(kept) == {"key", f"{durable.DRAFT}other-abc"}


def tree(folder) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_frozen_store_writes_nothing_and_makes_only_what_is_quick(kept):
    frozen = Store(kept.folder, frozen=True)
    with pytest.raises(BadSetting, match="the network is not in the store"):
        frozen.memo("key", "the network", IDENTITY, made)
    entry = frozen.memo("key", "it", IDENTITY, made, quick=True)
    assert not entry.was_there
    assert entry.record["number"] == 1.0
    assert not kept.folder.exists()
    kept.memo("key", "it", IDENTITY, made)
    before = tree(kept.folder)
    assert frozen.memo("key", "it", IDENTITY, refuse).was_there
    assert tree(kept.folder) == before


def test_a_frozen_store_leaves_what_is_damaged_where_it_is(kept):
    kept.memo("key", "it", IDENTITY, made)
    (kept.folder / "key" / TENSORS).write_bytes(b"")
    before = tree(kept.folder)
    frozen = Store(kept.folder, frozen=True)
    assert frozen.get("key") is None
    with pytest.raises(BadSetting, match="not in the store"):
        frozen.memo("key", "it", IDENTITY, made)
    assert tree(kept.folder) == before


def test_remake_makes_anew_once_in_a_process_and_replaces_what_was_there(kept):
    kept.memo("key", "it", IDENTITY, made)
    anew = Store(kept.folder, remake=True)
    assert not anew.memo("key", "it", IDENTITY, lambda: made(2.0)).was_there
    assert anew.memo("key", "it", IDENTITY, refuse).record["number"] == 2.0
    another = Store(kept.folder, remake=True)  # of the next run of the same sweep
    assert another.memo("key", "it", IDENTITY, refuse).record["number"] == 2.0
    assert kept.get("key").record["number"] == 2.0
    assert {path.name for path in (kept.folder / "key").iterdir()} == FILES
    assert names(kept) == {"key"}


def test_what_a_remaking_store_had_to_make_first_is_not_made_twice(kept):
    anew = Store(kept.folder, remake=True)
    anew.memo("key", "it", IDENTITY, made)
    assert anew.memo("key", "it", IDENTITY, refuse).was_there


def test_what_cannot_be_made_anew_leaves_the_old_entry(kept):
    kept.memo("key", "it", IDENTITY, made)
    before = tree(kept.folder)
    with pytest.raises(ZeroDivisionError):
        Store(kept.folder, remake=True).memo("key", "it", IDENTITY, lambda: 1 / 0)
    assert tree(kept.folder) == before


@pytest.mark.parametrize("call", ["write", "fsync", "rename", "mkdir"])
def test_a_disk_that_fails_while_it_is_made_anew_leaves_the_old_entry_or_the_new(kept, monkeypatch, call):
    kept.memo("key", "it", IDENTITY, made)
    failures = 0
    while True:
        monkeypatch.setattr(store, "_remade", set())
        with failing(call, errno.ENOSPC, kept.folder, failures) as failed:
            try:
                Store(kept.folder, remake=True).memo("key", "it", IDENTITY, lambda: made(2.0))
            except CannotWrite:
                entry = kept.get("key")
                # Where nothing can be renamed any more, the old one cannot be put back.
                assert call == "rename" if entry is None else entry.record["number"] == 1.0
        assert names(kept) <= {"key"}
        if not failed:
            break
        failures += 1
    assert kept.get("key").record["number"] == 2.0


def test_a_kill_while_it_is_made_anew_leaves_the_old_entry_the_new_or_none(kept):
    number = 0
    while True:
        shutil.rmtree(kept.folder, ignore_errors=True)
        kept.memo("key", "it", IDENTITY, made)
        anew = Store(kept.folder, remake=True)
        if not killed_before(number, lambda anew=anew: anew.memo("key", "it", IDENTITY, lambda: made(2.0))):
            break
        entry = kept.memo("key", "it", IDENTITY, lambda: made(3.0))
        assert entry.record["number"] in (1.0, 2.0, 3.0)
        assert not [name for name in names(kept) if "damaged" in name]
        number += 1
    assert number > 9


def test_parallel_writers_leave_one_whole_entry_and_nothing_else(kept):
    """Where a file system has no locks."""
    writing = [threading.Thread(target=kept._write, args=("key", *made(float(number)))) for number in range(8)]
    for thread in writing:
        thread.start()
    for thread in writing:
        thread.join()
    assert names(kept) == {"key"}
    record = json.loads((kept.folder / "key" / RECORD).read_text())
    tensors = checksums.read(kept.folder / "key", [TENSORS])[TENSORS]
    from safetensors.torch import load

    assert set(load(tensors)["a"].tolist()) == {record["number"]}
