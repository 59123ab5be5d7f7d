import csv
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import make_row

from kdbench.errors import DamagedFile, NotFinite
from kdbench.results.row import FILE, NAMES, allowed, as_csv, may_be_empty, read, write
from kdbench.storage.checksums import SUMS, sums

DOCS = Path(__file__).parents[2] / "docs"
VERSION_BEFORE = sorted((DOCS / "study" / "mnist").glob(f"*/{FILE}"))


@pytest.mark.parametrize(
    "row",
    [
        make_row(),
        make_row(teacher="resnet_deep", teacher_kl=1e-300, agreement=0.1 + 0.2, settings='a="b",c'),
        make_row(seed=2**31 - 1, cpu="", latency_ms=5e-324),
        make_row(teacher="cnn_deep+resnet_deep", teacher_settings="teacher.train.epochs=3"),
        make_row(teacher="cnn_medium-distill", weights="lenet.safetensors:3fa9c1d2", seeds_together=4),
        make_row(cpu_family=None, cpu_model=None, cpu_capability="", code_hash=None, seeds_together=None, date=""),
    ],
)
def test_a_row_comes_back_exactly(tmp_path, row):
    write(row, tmp_path)
    assert read(tmp_path / FILE) == row
    assert {path.name for path in tmp_path.iterdir()} == {FILE, SUMS}


def forge(folder, **changes):
    """Write a row whose columns are anything (None: missing), and whose checksum is in order."""
    [values] = csv.DictReader(as_csv(make_row()).decode().splitlines())
    values = {name: value for name, value in (values | changes).items() if value is not None}
    with (folder / FILE).open("w", newline="") as file:
        csv.writer(file).writerows([values, values.values()])
    (folder / SUMS).write_bytes(sums({FILE: (folder / FILE).read_bytes()}))


def test_columns_of_a_later_version_are_ignored(tmp_path):
    forge(tmp_path, new="1")
    assert read(tmp_path / FILE) == make_row()


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_column_is_empty_or_it_is_no_row(tmp_path, name):
    forge(tmp_path, **{name: None})
    if may_be_empty(name):
        assert not getattr(read(tmp_path / FILE), name)
    else:
        with pytest.raises(DamagedFile, match=f"no column {name}"):
            read(tmp_path / FILE)


ESSENTIAL = {
    *("dataset", "model", "compress", "seed", "accuracy", "errors", "test_images"),
    *("size_bytes", "size_gzip_bytes", "baseline_size_bytes", "config_hash"),
}


def test_without_what_was_measured_it_is_no_row():
    assert not [name for name in ESSENTIAL if may_be_empty(name)]


@pytest.mark.parametrize("path", VERSION_BEFORE[::6], ids=lambda path: path.parent.name)
def test_rows_of_the_version_before_are_read(path):
    with path.open(newline="") as file:
        [values] = csv.DictReader(file)
    assert "row_sha256" in values
    row = read(path)
    assert row.errors == int(values["errors"])
    assert {name for name in NAMES if name not in values} == {
        *("architecture", "recipe", "weights", "teacher_settings", "seeds_together", "code_hash", "date"),
        *("cpu_family", "cpu_model", "cpu_capability", "onnx_version", "onnxscript_version"),
        *("origin", "latency_min_ms", "speedup", "speedup_low", "speedup_high", "cpu_share", "train_threads"),
        *("throughput_ratio", "throughput_ratio_low", "throughput_ratio_high"),
        *("train_cpu_seconds", "teacher_train_cpu_seconds", "robust_accuracy", "robust_eps"),
        *("transfer_images", "transfer_agreement", "transfer_kl", "transfer_nll", "transfer_ece"),
        *("errors_by_class", "file_val_accuracy", "packed_bytes", "payload_bytes"),
        *("float_layers", "one_scale_layers"),
    }
    assert not any(getattr(row, name) for name in NAMES if name not in values)


def test_a_run_folder_of_the_version_before_is_read_though_its_checksums_do_not_name_the_row(tmp_path):
    content = VERSION_BEFORE[0].read_bytes()
    (tmp_path / FILE).write_bytes(content)
    (tmp_path / SUMS).write_bytes(sums({"model.onnx": b"", "config.yaml": b""}))
    assert read(tmp_path / FILE) == read(VERSION_BEFORE[0])
    (tmp_path / FILE).write_bytes(as_csv(make_row()))
    with pytest.raises(DamagedFile, match="altered since it was written"):
        read(tmp_path / FILE)


def test_an_altered_row_is_refused_where_its_checksum_lies_beside_it(tmp_path):
    write(make_row(), tmp_path)
    path = tmp_path / FILE
    path.write_text(path.read_text().replace("0.9961", "0.9962"))
    with pytest.raises(DamagedFile, match="altered since it was written") as caught:
        read(path)
    assert caught.value.path == path
    (tmp_path / SUMS).write_text("nonsense")
    with pytest.raises(DamagedFile, match="does not hold checksums") as caught:
        read(path)
    assert caught.value.path == tmp_path / SUMS
    (tmp_path / SUMS).unlink()
    assert read(path).accuracy == 0.9962


def test_every_column_is_explained_once():
    lines = [line.split("|")[1] for line in (DOCS / "columns.md").read_text().splitlines() if line.startswith("| `")]
    explained = re.findall(r"`(\w+)`", " ".join(lines))
    assert sorted(explained) == sorted(NAMES)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: "", "0 rows"),
        (lambda text: text.splitlines()[0] + "\n", "0 rows"),
        (lambda text: text + text.splitlines()[1] + "\n", "2 rows"),
        (lambda text: text.replace(",errors,", ",mistakes,"), "no column errors"),
        (lambda text: text.replace("288170,288170", "288170"), "columns"),
    ],
)
def test_damage_is_named(tmp_path, damage, message):
    write(make_row(), tmp_path)
    path = tmp_path / FILE
    (tmp_path / SUMS).unlink()
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
        ({"teacher": "+cnn_deep"}, "no row of kdbench holds"),
        ({"teacher": "cnn_deep+"}, "no row of kdbench holds"),
        ({"model": "cnn+mlp"}, "no row of kdbench holds"),
        ({"recipe": "=1"}, "no row of kdbench holds"),
        ({"weights": "<b>"}, "no row of kdbench holds"),
        ({"code_hash": "a b"}, "no row of kdbench holds"),
        ({"seeds_together": "0"}, "seeds_together is '0'"),
        ({"cpu_family": "many"}, "cpu_family is 'many', not a number"),
    ],
)
def test_what_kdbench_never_writes_is_refused_though_its_checksum_is_in_order(tmp_path, changes, message):
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


def test_every_truncation_is_noticed(tmp_path):
    write(make_row(), tmp_path)
    path = tmp_path / FILE
    whole = path.read_bytes()
    for length in range(len(whole)):
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
