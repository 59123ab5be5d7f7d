import csv

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import make_row

from kdbench.errors import DamagedFile, NotFinite
from kdbench.results.row import FILE, SEAL, allowed, read, seal, write


@pytest.mark.parametrize(
    "row",
    [
        make_row(),
        make_row(teacher="resnet_deep", teacher_kl=1e-300, agreement=0.1 + 0.2, settings='a="b",c'),
        make_row(seed=2**31 - 1, cpu="", latency_ms=5e-324),
    ],
)
def test_a_row_comes_back_exactly(tmp_path, row):
    write(row, tmp_path)
    assert read(tmp_path / FILE) == row
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def forge(folder, **changes):
    """Write a row whose columns are anything, and whose seal is in order."""
    write(make_row(), folder)
    with (folder / FILE).open(newline="") as file:
        [values] = csv.DictReader(file)
    del values[SEAL]
    values |= changes
    with (folder / FILE).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([[*values, SEAL], [*values.values(), seal(values)]])


def test_columns_of_a_later_version_are_ignored(tmp_path):
    forge(tmp_path, new="1")
    assert read(tmp_path / FILE) == make_row()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: "", "0 rows"),
        (lambda text: text.splitlines()[0] + "\n", "0 rows"),
        (lambda text: text + text.splitlines()[1] + "\n", "2 rows"),
        (lambda text: text.replace("0.9961", "0.9962"), "altered since it was written"),
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accuracy": "high"}, "accuracy is 'high'"),
        ({"accuracy": "nan"}, "accuracy is 'nan'"),
        ({"accuracy": "7.5"}, "accuracy is '7.5', which no row of kdbench holds"),
        ({"agreement": "-0.1"}, "agreement is '-0.1'"),
        ({"size_bytes": "0"}, "size_bytes is '0'"),
        ({"errors": "-1"}, "errors is '-1'"),
        ({"macs": "9" * 400}, "macs is '9"),
        ({"cpu": " =1+1"}, "no row of kdbench holds"),
        ({"errors": "1.5"}, "errors is '1.5'"),
        ({"settings": "=HYPERLINK(1)"}, "settings is '=HYPERLINK"),
        ({"settings": "@SUM(1)"}, "no row of kdbench holds"),
        ({"cpu": "-1+cmd"}, "no row of kdbench holds"),
        ({"cpu": "a\x1b[2J"}, "no row of kdbench holds"),
        ({"cpu": "<script>"}, "no row of kdbench holds"),
        ({"dataset": "../../elsewhere"}, "no row of kdbench holds"),
        ({"data_fingerprint": "a/b"}, "no row of kdbench holds"),
        ({"model": ".hidden"}, "no row of kdbench holds"),
    ],
)
def test_what_kdbench_never_writes_is_refused_though_its_seal_is_in_order(tmp_path, changes, message):
    forge(tmp_path, **changes)
    with pytest.raises(DamagedFile, match=message):
        read(tmp_path / FILE)


@pytest.mark.parametrize("changes", [{"settings": "=1"}, {"model": "a/b"}, {"cpu": "a|b"}, {"dataset": ""}])
def test_what_would_be_refused_is_not_written(tmp_path, changes):
    with pytest.raises(ValueError, match="may not hold"):
        write(make_row(**changes), tmp_path)
    assert list(tmp_path.iterdir()) == []


text = st.text().filter(lambda value: allowed("settings", value))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    settings=text,
    cpu=text,
    accuracy=st.floats(0, 1),
    nll=st.floats(allow_nan=False, allow_infinity=False),
    seed=st.integers(0, 2**53),
)
def test_any_row_comes_back_exactly(tmp_path, settings, cpu, accuracy, nll, seed):
    row = make_row(settings=settings, cpu=cpu, accuracy=accuracy, nll=nll, seed=seed)
    write(row, tmp_path)
    assert read(tmp_path / FILE) == row


def test_every_truncation_but_the_last_newline_is_noticed(tmp_path):
    write(make_row(), tmp_path)
    path = tmp_path / FILE
    whole = path.read_bytes()
    for length in range(len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedFile):
            read(path)


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
