import csv
from dataclasses import replace

import pytest
from tests.conftest import make_row

from kdbench.errors import DamagedFile, NotFinite
from kdbench.results import row as rows
from kdbench.results.row import FILE, read, write, write_whole


@pytest.mark.parametrize(
    "row",
    [
        make_row(),
        make_row(teacher="resnet_deep", teacher_kl=1e-300, agreement=0.1 + 0.2, settings='a="b",\nc'),
        make_row(seed=2**31 - 1, cpu="", latency_ms=5e-324),
    ],
)
def test_a_row_comes_back_exactly(tmp_path, row):
    write(row, tmp_path)
    assert read(tmp_path / FILE) == row
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_columns_of_a_later_version_are_ignored(tmp_path):
    write(make_row(), tmp_path)
    header, values = (tmp_path / FILE).read_text().splitlines()
    (tmp_path / FILE).write_text(f"{header},new\n{values},1\n")
    assert read(tmp_path / FILE) == make_row()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: "", "0 rows"),
        (lambda text: text.splitlines()[0] + "\n", "0 rows"),
        (lambda text: text + text.splitlines()[1] + "\n", "2 rows"),
        (lambda text: text.replace("0.9961", "high"), "accuracy is 'high'"),
        (lambda text: text.replace("0.9961", "nan"), "accuracy is nan"),
        (lambda text: text.replace(",errors,", ",mistakes,"), "no column errors"),
        (lambda text: text.replace("288170,288170", "288170"), "columns"),
    ],
)
def test_damage_is_named(tmp_path, damage, message):
    write(make_row(), tmp_path)
    path = tmp_path / FILE
    path.write_text(damage(path.read_text()))
    with pytest.raises(DamagedFile, match=message):
        read(path)


def test_every_truncation_but_the_last_newline_is_noticed(tmp_path):
    write(make_row(), tmp_path)
    path = tmp_path / FILE
    whole = path.read_bytes()
    for length in range(len(whole) - 1):
        path.write_bytes(whole[:length])
        try:
            found = read(path)
        except DamagedFile:
            continue
        # Only the last field, a text, can be cut without a trace in the file itself.
        assert replace(found, data_fingerprint="f0") == make_row()


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    write_whole(tmp_path / "a", b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rows.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "a", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"old")]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_never_written(tmp_path, value):
    with pytest.raises(NotFinite, match="teacher_kl is"):
        write(make_row(teacher_kl=value), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_plain_csv(tmp_path):
    write(make_row(), tmp_path)
    with (tmp_path / FILE).open(newline="") as file:
        [line] = csv.DictReader(file)
    assert line["teacher"] == ""
    assert float(line["accuracy"]) == 0.9961
