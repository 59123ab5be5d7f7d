from pathlib import Path

import pytest
from tests.conftest import make_row

from kdbench.results.lines import line, ratio, size


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


def test_the_line_of_a_student_names_accuracy_size_ratios_latency_and_folder(tmp_path):
    row = make_row(compress="distill", teacher="resnet_deep", teacher_size_bytes=2_320_000)
    shown = line(row, tmp_path)
    for part in ("99.61% (39 errors of 10000)", "1.16 MB", "as large as its baseline", "0.333 ms", str(tmp_path)):
        assert part in shown
    assert "2x smaller than its teacher resnet_deep" in shown
    assert "\n" not in shown


def test_folders_are_shown_as_they_would_be_typed(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert line(make_row(), Path.cwd() / "outputs" / "run").endswith("outputs/run")
    assert str(tmp_path) not in line(make_row(), Path.cwd() / "outputs" / "run")
