import csv
import io
import itertools
import re
import statistics
from dataclasses import replace

import pytest
from tests.conftest import make_row
from tests.plots.rows import study
from tests.plots.test_charts import UNTIMED

from kdbench.cli import table as command
from kdbench.cli.main import main
from kdbench.results.row import NAMES, write
from kdbench.results.table import Table, having_room, markdown, tables, text
from kdbench.results.table_columns import COLUMNS, DISTURBED, FOOTNOTES, WEAK, Column
from kdbench.results.table_csv import OF_A_RUN, csv_text


def cells(rows, width=None) -> list[dict[str, str]]:
    """The lines of the one table of `rows`, by header."""
    [table] = tables(rows)
    if width is not None:
        table = table.only(having_room(table, width))
    return [dict(zip([column.header for column in table.columns], line, strict=True)) for line in table.cells]


QUANTIZED = {"compress": "quantize", "variant_hash": "q", "config_hash": "q"}


def test_ratios_stand_before_all_other_times():
    headers = [column.header for column in COLUMNS]
    times = ["faster", "range", "faster 256", "range 256", "ms/image", "min ms", "images/s", "train s", "CPU s"]
    assert [header for header in headers if header in times] == times
    row = make_row(**QUANTIZED, speedup=0.801, speedup_low=0.7, speedup_high=0.9, throughput_ratio=2.5)
    [line] = cells([row])
    assert [line[name] for name in times] == [
        *("0.80x", "0.70-0.90", "2.50x", "1.00-1.00", "0.333", "0.320", "4,000", "220", "430"),
    ]


@pytest.mark.parametrize("width", [60, 80, 100, 140, 200])
def test_a_table_fits_its_terminal_and_ends_with_what_it_left_out(width):
    rows = [row for row in study(2) if row.model == "mlp_medium"]
    [table] = tables(rows)
    shown = text(rows, width)
    assert max(map(len, shown.splitlines())) <= width
    header = next(line for line, rule in itertools.pairwise(shown.splitlines()) if set(rule) == {"-"})
    kept = set(re.split(r" {2,}", header.strip())) | {"model", "method"}  # which stand above the others otherwise
    named = re.findall(r"left out: (.*); a wider terminal has them", shown.replace("\n ", ""))
    assert set(", ".join(named).split(", ")) - {""} == {column.header for column in table.columns} - kept
    assert {"accuracy %", "file", "smaller", "packed"} <= kept
    if width >= 80:
        assert {"faster", "faster 256"} <= kept
    assert len(having_room(table, 140)) > len(having_room(table, 80))


@pytest.mark.parametrize("width", range(46, 80))
def test_no_number_in_a_shortened_name_is_another_number(width):
    settings = "sparsity={} finetune_epochs=0"
    rows = [
        make_row(compress="prune", settings=settings.format(share), variant_hash=f"{share}", config_hash=f"{share}")
        for share in (0.9, 0.98)
    ]
    assert not re.search(r"=0\.9?…", text(rows, width))


@pytest.mark.parametrize("length", range(24, 40))
def test_no_number_at_the_end_of_a_shortened_name_has_lost_its_first_digits(length):
    name = "prune finetune_epochs=12 sparsity=0.95"
    [[cell]] = Table("", [Column("method", str, 0, right=False)], [[name]]).shortened(length).cells
    assert len(cell) <= length or cell == name
    assert not re.search(r"…(2|[.]?9?5)\b", cell)


def test_where_names_leave_no_room_the_figures_stand_below_them():
    settings = [f"sparsity={share} finetune_epochs={epochs}" for share in (0.5, 0.9, 0.98) for epochs in (0, 3)]
    rows = [
        make_row(model="cnn_simple", compress="prune_layerwise", settings=one, variant_hash=one, config_hash=one)
        for one in settings
    ]
    lines = text(rows, 80).splitlines()
    assert max(map(len, lines)) <= 80
    for one in settings:
        [at] = [number for number, line in enumerate(lines) if line == f"cnn_simple  prune_layerwise ({one})"]
        assert lines[at + 1].split()[0] == "99.61"
        assert "970 kB" in lines[at + 1]


def test_one_long_name_leaves_room_for_the_figures():
    rows = [make_row(), make_row(**QUANTIZED, teacher="+".join(["a_rather_long_name"] * 3), agreement=0.9)]
    rows += [replace(rows[1], model="another_model_of_a_rather_long_name", config_hash="r", variant_hash="r")]
    shown = text(rows, 80)
    assert max(map(len, shown.splitlines())) <= 80
    assert {"file", "smaller", "faster"} <= {*shown.splitlines()[2].split()}
    assert "another_model_of_a_rather_long_name" in text(rows)


@pytest.mark.parametrize("width", [80, 140])
def test_names_are_shortened_only_where_room_is_needed_and_never_to_the_same(width):
    settings = [f"finetune_lr_scale={value}" for value in (0.001, 0.003, 0.01)]
    rows = [
        make_row(**QUANTIZED | {"compress": "prune", "variant_hash": words, "config_hash": words}, settings=words)
        for words in settings
    ]
    lines = text(rows, width).splitlines()
    methods = {line for line in lines if "prune" in line}
    assert len({re.split("  +", line)[1] for line in methods}) == 3
    assert max(map(len, lines)) <= width
    if width == 140:
        assert not any("…" in line for line in lines)


def test_where_there_is_no_terminal_nothing_is_left_out():
    rows = [
        make_row(teacher="a", teacher_train_seconds=1.0),
        make_row(**QUANTIZED, agreement=0.9, robust_accuracy=0.5),
    ]
    header = text(rows).splitlines()[1]
    assert re.split("  +", header) == [column.header for column in COLUMNS]
    assert text(rows) == text(rows, 1000)


def test_columns_without_anything_take_no_room():
    assert "teacher" not in text([make_row()])
    assert "| faster |" not in markdown([make_row(**UNTIMED | {"latency_ms": 1.0})])


def test_disturbed_times_are_marked_and_the_mark_is_explained():
    rows = [make_row(), make_row(**QUANTIZED | UNTIMED)]
    whole, disturbed = cells(rows)
    for name in ("faster", "range", "faster 256", "range 256", "ms/image", "min ms", "images/s"):
        assert (whole[name] != "*", disturbed[name]) == (True, "*")
    assert disturbed["train s"] == "220"
    for shown in (text(rows), text(rows, 80), markdown(rows)):
        assert shown.count(FOOTNOTES[DISTURBED]) == 1
    assert FOOTNOTES[DISTURBED] not in text([make_row()])
    # One that was measured on another machine only is not one that was disturbed.
    elsewhere = [make_row(cpu="A"), make_row(cpu="B"), make_row(**QUANTIZED | UNTIMED, cpu="A")]
    assert [line["ms/image"] for line in cells(elsewhere)] == ["0.333 / 0.333", "* / -"]


def test_short_trainings_do_not_take_no_time():
    assert cells([make_row(train_seconds=0.4, train_cpu_seconds=0.03)])[0]["train s"] == "0.4"
    assert cells([make_row(train_seconds=0.4, train_cpu_seconds=0.03)])[0]["CPU s"] == "0.03"


@pytest.mark.parametrize(
    ("origin", "methods"),
    [("given", ["baseline (given)", "quantize"]), ("fine-tuned", ["baseline (fine-tuned)", "quantize"])],
)
def test_a_network_that_was_not_trained_here_says_so_once(origin, methods):
    rows = [make_row(origin=origin), make_row(**QUANTIZED, origin=origin)]
    assert [line["method"] for line in cells(rows)] == methods
    assert [line["method"] for line in cells(rows[1:])] == [f"quantize ({origin})"]
    assert [line["method"] for line in cells([make_row(), make_row(**QUANTIZED, origin=None)])] == [
        *("baseline", "quantize"),
    ]


def test_a_teacher_that_is_no_better_than_its_student_alone_is_marked():
    taught = {"compress": "distill", "teacher": "mlp_deep", "variant_hash": "d", "config_hash": "d"}
    rows = [make_row(accuracy=0.98), make_row(**taught, teacher_accuracy=0.98)]
    assert [line["teacher"] for line in cells(rows)] == ["", "mlp_deep †"]
    assert text(rows).endswith(f"{WEAK} {FOOTNOTES[WEAK]}")
    lines = [*csv.DictReader(io.StringIO(csv_text(rows)))]
    assert [line["baseline_accuracy"] for line in lines] == ["0.98", "0.98"]
    assert [line["weak_teacher"] for line in lines] == ["", "True"]
    better = [rows[0], make_row(**taught, teacher_accuracy=0.99)]
    assert [line["teacher"] for line in cells(better)] == ["", "mlp_deep"]
    assert [line["teacher"] for line in cells(better[1:])] == ["mlp_deep"]  # without a baseline nothing is known
    weak = [
        [line["weak_teacher"] for line in csv.DictReader(io.StringIO(csv_text(rows)))]
        for rows in (better, better[1:])
    ]
    assert weak == [["", "False"], [""]]


def test_csv_has_every_number_as_it_is_and_a_line_a_variant():
    rows = [make_row(accuracy=value, seed=seed, config_hash=f"c{seed}") for seed, value in enumerate((1 / 3, 0.5))]
    rows += [make_row(**QUANTIZED, settings="bits=8", teacher="a+b", latency_ms=1e-5)]
    rows += [make_row(dataset="other", data_fingerprint="f1")]
    lines = [*csv.DictReader(io.StringIO(csv_text(rows)))]
    assert [(line["dataset"], line["method"], line["seeds"]) for line in lines] == [
        *(("mnist", "baseline", "2"), ("mnist", "quantize", "1"), ("other", "baseline", "1")),
    ]
    both, quantized = lines[:2]
    assert float(both["accuracy"]) == statistics.mean((1 / 3, 0.5))
    assert float(both["accuracy_std"]) == pytest.approx(statistics.stdev((1 / 3, 0.5)))
    assert (float(quantized["latency_ms"]), quantized["accuracy_std"], quantized["settings"]) == (1e-5, "", "bits=8")
    assert set(NAMES) - OF_A_RUN <= lines[0].keys()


def test_csv_has_a_line_for_each_machine_that_measured_a_variant():
    rows = [make_row(cpu="A", latency_ms=1.0), make_row(cpu="B", latency_ms=2.0), make_row(**QUANTIZED, cpu="A")]
    lines = [*csv.DictReader(io.StringIO(csv_text(rows)))]
    assert [(line["method"], line["machine"][0], float(line["latency_ms"])) for line in lines] == [
        *(("baseline", "A", 1.0), ("quantize", "A", 1 / 3), ("baseline", "B", 2.0)),
    ]


def test_the_command_gives_csv_or_markdown_or_what_the_terminal_has_room_for(tmp_path, capsys, monkeypatch):
    write(make_row(), tmp_path)
    assert main(["table", str(tmp_path), "--csv"]) == 0
    assert capsys.readouterr().out == csv_text([make_row()])
    assert main(["table", str(tmp_path), "--markdown"]) == 0
    assert capsys.readouterr().out == markdown([make_row()]) + "\n"
    assert main(["table", str(tmp_path), "--markdown", "--csv"]) == 1
    assert "not allowed with argument" in capsys.readouterr().err
    monkeypatch.setattr("kdbench.cli.terminal.width", lambda: 60)
    assert main(["table", str(tmp_path)]) == 0
    assert capsys.readouterr().out == text([make_row()], 60) + "\n"
    assert command.DESCRIPTION.count("faster 256")
