from pathlib import Path

import pytest
from tests.conftest import make_row

from kdbench.results.lines import faster, line, ratio, seconds, size


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (7, "7 B"),
        (999, "999 B"),
        (1_000, "1 kB"),
        (34_200, "34.2 kB"),
        (999_900, "1 MB"),
        (5_980_000, "5.98 MB"),
        (1.2e9, "1.2 GB"),
    ],
)
def test_sizes_are_in_powers_of_a_thousand(count, expected):
    assert size(count) == expected


def test_ratios_name_the_direction():
    assert ratio(300, 100) == "3x smaller than"
    assert ratio(100, 200) == "2x larger than"
    assert ratio(1000, 1001) == "as large as"


STUDENT = {"compress": "distill", "teacher": "resnet_deep", "teacher_size_bytes": 2_320_000}


def test_the_line_of_a_student_names_accuracy_size_ratios_time_and_folder(tmp_path):
    shown = line(make_row(**STUDENT, speedup=1.9, speedup_low=1.8, speedup_high=2.0), tmp_path)
    for part in ("99.61% (39 errors of 10000)", "1.16 MB (970 kB packed), as large as its baseline", str(tmp_path)):
        assert part in shown
    assert "2x smaller than its teacher resnet_deep  |" in shown
    taught = line(make_row(**STUDENT, teacher_accuracy=0.9958), tmp_path)
    assert "2x smaller than its teacher resnet_deep (42 errors)" in taught
    assert "0.333 ms an image, 1.9x faster than its baseline" in shown
    assert "\n" not in shown


def test_what_is_left_under_attacks_stands_beside_the_accuracy(tmp_path):
    shown = line(make_row(robust_accuracy=0.836, robust_eps=0.3), tmp_path)
    assert "99.61% (39 errors of 10000), 83.6% under attacks" in shown


def test_a_baseline_is_not_compared_with_itself(tmp_path):
    shown = line(make_row(), tmp_path)
    assert "|  1.16 MB (970 kB packed)  |  0.333 ms an image  |" in shown
    assert "baseline  seed 0" in shown
    assert "its baseline" not in shown


def test_times_that_were_disturbed_are_not_there_and_the_line_says_why(tmp_path):
    row = make_row(compress="prune", latency_ms=None, speedup=None)
    assert "|  not timed: others had the processor too  |" in line(row, tmp_path)
    older = make_row(compress="prune", speedup=None)
    assert "|  0.333 ms an image  |" in line(older, tmp_path)


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ((1.9, 1.8, 2.0), "1.9x faster than"),
        ((0.5, 0.4, 0.6), "2x slower than"),
        ((1.04, 0.99, 1.1), "as fast as"),
        ((0.99, 0.985, 0.995), "as fast as"),
        ((1.2, None, None), "1.2x faster than"),
    ],
)
def test_speed_is_told_apart_from_the_spread_of_its_passes(ratios, expected):
    names = ("speedup", "speedup_low", "speedup_high")
    assert faster(make_row(**dict(zip(names, ratios, strict=True)))) == expected


@pytest.mark.parametrize("width", [80, 100, 140])
def test_a_terminal_gets_lines_that_fit_and_hold_the_same(tmp_path, width):
    row = make_row(**STUDENT, speedup=1.9)
    folder = tmp_path.parents[len(tmp_path.parents) - 2] / "runs" / "mnist_5k" / "cnn_deep-distill-seed0-1a2b3c4d"
    lines = line(row, folder, width, "was done already").splitlines()
    assert 2 <= len(lines) <= 5
    assert max(map(len, lines)) <= width
    assert "  |  ".join(part.strip() for part in lines) == line(row, folder, None, "was done already")


@pytest.mark.parametrize(
    ("count", "expected"), [(0.004, "0.004"), (0.4, "0.4"), (1.26, "1.3"), (9.96, "10"), (37.4, "37"), (1161, "1161")]
)
def test_no_training_takes_0_seconds(count, expected):
    assert seconds(count) == expected


def test_folders_are_shown_as_they_would_be_typed(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert line(make_row(), Path.cwd() / "outputs" / "run").endswith("outputs/run")
    assert str(tmp_path) not in line(make_row(), Path.cwd() / "outputs" / "run")


def test_what_was_typed_of_network_and_method_tells_the_runs_of_a_sweep_apart(tmp_path):
    typed = ["model=cnn_deep", "train.epochs=1", "compress=prune", "compress.sparsity=0.98", "seed=0", "data.root=x"]
    shown = line(make_row(compress="prune"), tmp_path, None, typed)
    assert "cnn_deep (train.epochs=1)  prune (sparsity=0.98)  seed 0  |" in shown
    of_teachers = line(make_row(compress="distill"), tmp_path, None, ["view=edges", "teacher_train.epochs=3"])
    assert " (view=edges)  distill (teacher_train.epochs=3)  seed 0" in of_teachers
    long = f"compress.teacher={{model:{'m' * 50}}}"
    assert "prune (teacher={model:mmmmm" in line(make_row(compress="prune"), tmp_path, None, [long])
    assert "m" * 40 not in line(make_row(compress="prune"), tmp_path, None, [long])


def test_the_packed_file_stands_beside_the_file(tmp_path):
    shown = line(make_row(compress="prune", size_bytes=204_000, packed_bytes=19_000), tmp_path)
    assert "|  204 kB (19 kB packed), " in shown
