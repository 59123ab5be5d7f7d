"""The folder of a checkpoint: killed, damaged and on a failing disk."""

import errno
import shutil
import subprocess

import pytest
import torch
from tests.faults.shim import failing, killed_before

from kdbench.storage.checksums import SUMS
from kdbench.training.checkpoint import Checkpoint, Cost, Saved
from kdbench.training.spent import Spent


def saved(step: int) -> Saved:
    return Saved({"weight": torch.full((2, 2), float(step))}, {"step": step, "lr": 0.1})


def stands_at(folder) -> int | None:
    """Return the step that is found by who comes next."""
    checkpoint = Checkpoint(folder, 0)
    found = checkpoint.begin()
    if found is None:
        return None
    step = found.record["step"]
    assert torch.equal(found.tensors["weight"], saved(step).tensors["weight"])
    assert checkpoint.cost == Cost(Spent(float(step)), {"teacher": Spent(1.0)}, 2)
    return step


def save(folder, *steps: int) -> None:
    checkpoint = Checkpoint(folder, 0)
    checkpoint.begin()
    for step in steps:
        checkpoint.cost = Cost(Spent(float(step)), {"teacher": Spent(1.0)}, 2)
        checkpoint.save(saved(step))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "checkpoints" / "key"


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_the_last_that_was_written_is_found_and_no_other_is_kept(folder):
    assert stands_at(folder) is None
    save(folder, 1, 2, 3)
    assert stands_at(folder) == 3
    assert names(folder) == {"3.safetensors", SUMS}
    save(folder, 4)  # by another process, which goes on counting
    assert stands_at(folder) == 4
    assert names(folder) == {"4.safetensors", SUMS}


def test_sha256sum_reads_it(folder):
    save(folder, 1)
    if shutil.which("sha256sum") is None:
        pytest.skip("there is no sha256sum here")
    assert subprocess.run(["sha256sum", "--check", "--quiet", SUMS], cwd=folder).returncode == 0


@pytest.mark.parametrize("before", [None, 1])
def test_a_kill_between_any_two_writes_leaves_the_old_checkpoint_or_the_new(folder, before, caplog):
    number = 0
    found = []
    while True:
        shutil.rmtree(folder.parent, ignore_errors=True)
        if before:
            save(folder, before)
        killed = killed_before(number, lambda: save(folder, 2))
        found.append(stands_at(folder))
        assert found[-1] in (before, 2)
        assert names(folder.parent) <= {"key"}  # nothing is taken for damaged
        save(folder, 3)  # who comes next goes on, and tidies up
        assert stands_at(folder) == 3
        assert len(names(folder)) == 2
        if not killed:
            break
        number += 1
    assert found == sorted(found, key=lambda step: step or 0)  # old ones first, then new ones
    assert {before, 2} == set(found)
    assert number >= 6  # two files: written, flushed, renamed
    assert "damaged" not in caplog.text


@pytest.mark.parametrize("call", ["write", "fsync", "rename", "mkdir"])
@pytest.mark.parametrize("before", [None, 1])
def test_a_checkpoint_that_cannot_be_written_is_reported_and_the_last_one_stays(folder, before, call, caplog):
    after = 0
    while True:
        shutil.rmtree(folder.parent, ignore_errors=True)
        if before:
            save(folder, before)
        caplog.clear()
        with failing(call, errno.ENOSPC, folder.parent, after) as failed:
            save(folder, 2)  # does not raise: the training goes on
        if not failed:
            break
        reported = "no checkpoint could be written: the disk of" in caplog.text
        assert reported or (call == "mkdir" and before)  # the folder is there already
        assert stands_at(folder) == (before if reported else 2)
        after += 1
    assert stands_at(folder) == 2


@pytest.mark.parametrize("name", ["2.safetensors", SUMS])
@pytest.mark.parametrize(
    "damage",
    [lambda content: content[:-1], lambda content: b"", lambda content: bytes([content[0] ^ 1]) + content[1:], None],
    ids=["cut", "empty", "flipped", "missing"],
)
def test_a_damaged_checkpoint_is_set_aside_and_the_training_begins_anew(folder, name, damage, caplog):
    save(folder, 1, 2)
    path = folder / name
    content = path.read_bytes()
    path.unlink()
    if damage:
        path.write_bytes(damage(content))
    assert stands_at(folder) is None
    assert "key is damaged" in caplog.text
    assert names(folder.parent) == {"key.damaged-1"}
    save(folder, 1)
    assert stands_at(folder) == 1


@pytest.mark.parametrize("kind", ["file", "dead link"])
def test_what_is_no_folder_is_set_aside(folder, kind):
    folder.parent.mkdir()
    {"file": folder.touch, "dead link": lambda: folder.symlink_to("nowhere")}[kind]()
    assert stands_at(folder) is None
    assert names(folder.parent) == {"key.damaged-1"}
    save(folder, 1)
    assert stands_at(folder) == 1


def test_the_checkpoint_of_another_training_is_refused(folder, caplog):
    save(folder.with_name("other"), 1)
    folder.with_name("other").rename(folder)
    assert stands_at(folder) is None
    assert "it is the checkpoint of another training" in caplog.text
