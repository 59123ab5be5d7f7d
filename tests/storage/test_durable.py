import errno
import os

import pytest
from tests.faults.shim import failing

from kdbench.errors import CannotWrite, DamagedFile
from kdbench.storage import durable


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, call):
    durable.write(tmp_path / "a", b"old")
    with failing(call, errno.ENOSPC, tmp_path, 0), pytest.raises(CannotWrite, match="is full"):
        durable.write(tmp_path / "a", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"old")]


def test_what_is_written_in_parts_is_written_whole(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, content: write(handle, content[:7]))
    durable.write(tmp_path / "a", bytes(range(256)))
    assert (tmp_path / "a").read_bytes() == bytes(range(256))


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "is full"),
        (errno.EDQUOT, "is full"),
        (errno.EACCES, "may not be written"),
        (errno.EROFS, "read-only file system"),
        (errno.ENOENT, "is gone"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_every_failure_says_what_it_is_and_that_nothing_is_lost(tmp_path, number, said):
    path = tmp_path / "nowhere" / "a" if number == errno.ENOENT else tmp_path / "a"
    with pytest.raises(CannotWrite, match=said) as error, durable.writing(path):
        raise OSError(number, os.strerror(number))
    # Not so if it is gone.
    assert str(error.value).endswith("what was done before is kept") is (number != errno.ENOENT)


def test_the_disk_that_is_full_is_not_named_by_a_draft(tmp_path):
    draft = tmp_path / "store" / ".draft-key-abc"
    assert f"the disk of {tmp_path / 'store'} is full" in durable.reason(draft / "a", OSError(errno.ENOSPC, ""))


def test_what_is_no_file_is_neither_waited_for_nor_in_the_way(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(DamagedFile, match=f"{name} is not a file"):
            durable.read(tmp_path / name)
        durable.write(tmp_path / name, b"now it is")
        assert durable.read(tmp_path / name) == b"now it is"
    assert (tmp_path / "folder.damaged-1").is_dir()


def test_drafts_of_killed_processes_are_swept_and_nothing_else(tmp_path):
    for name in (".draft-row-abc", ".draft-model-abc", "row", ".hidden"):
        (tmp_path / name).touch()
    (tmp_path / ".draft-row-folder").mkdir()
    durable.sweep(tmp_path, "row", older_than=60)
    assert len(list(tmp_path.iterdir())) == 5
    durable.sweep(tmp_path, "row")
    assert {path.name for path in tmp_path.iterdir()} == {".draft-model-abc", "row", ".hidden"}


def test_what_is_set_aside_has_a_name_of_its_own(tmp_path, caplog):
    for content in (b"one", b"two"):
        (tmp_path / "row").write_bytes(content)
        durable.set_aside(tmp_path / "row", "why")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "row.damaged-1": b"one",
        "row.damaged-2": b"two",
    }
    assert "row is damaged (why): set aside as row.damaged-1, and made again" in caplog.text
