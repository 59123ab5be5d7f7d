import statistics
import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from tests.conftest import make_row
from tests.plots.rows import study

from kdbench.cli.main import main
from kdbench.plots import (
    accuracy_axis,
    accuracy_vs_size,
    distillation_impact,
    pruning_impact,
    quantization_impact,
    style,
    teacher_vs_student,
)
from kdbench.plots.before_after import joined
from kdbench.results.names import students
from kdbench.results.row import write
from kdbench.results.summary import frame, summarise

CHARTS = [accuracy_vs_size, distillation_impact, teacher_vs_student, quantization_impact, pruning_impact]
HASHES = ("config_hash", "variant_hash", "network_hash")
NAMES = [chart.__name__.rpartition(".")[2] for chart in CHARTS]


def texts(figure) -> list[tuple[str, object]]:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    shown = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    # Tick labels beyond the limits of their axis exist but are not drawn.
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in shown if in_view(figure, text)]
    return [(text, box) for text, box in boxes if box.width > 0]


def in_view(figure, text: Text) -> bool:
    for axis in [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]:
        low, high = sorted(axis.get_view_interval())
        for tick in axis.majorTicks:
            if text in (tick.label1, tick.label2):
                return tick in axis.get_major_ticks() and low <= tick.get_loc() <= high
    return True


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("chart", CHARTS, ids=NAMES)
def test_no_text_is_clipped_and_no_two_overlap(chart, seeds):
    no_text_is_clipped_and_no_two_overlap(chart.draw(frame(study(seeds))))


@pytest.mark.parametrize("chart", CHARTS[1:2] + CHARTS[3:], ids=NAMES[1:2] + NAMES[3:])
def test_charts_of_one_method_have_room_for_long_names_and_several_machines(chart):
    rows = study(2)
    rows += [
        replace(row, recipe="train.epochs=6 train.lr=0.01", **{name: f"{getattr(row, name)}-b" for name in HASHES})
        for row in rows
        if row.model.endswith("simple")
    ]
    rows += [replace(row, cpu="Intel(R) Xeon(R) Platinum 8370C CPU @ 2.80GHz") for row in rows if row.seed]
    rows += [replace(row, cpu="Intel(R) Xeon(R) Platinum 8370C CPU @ 2.80GHz", threads=8) for row in rows]
    no_text_is_clipped_and_no_two_overlap(chart.draw(frame(rows)))


def no_text_is_clipped_and_no_two_overlap(figure):
    found = texts(figure)
    assert len(found) > 10
    width, height = figure.canvas.get_width_height()
    for text, box in found:
        assert box.x0 >= -1, text
        assert box.y0 >= -1, text
        assert box.x1 <= width + 1, text
        assert box.y1 <= height + 1, text
    for number, (text, box) in enumerate(found):
        for other, other_box in found[number + 1 :]:
            overlap_x = min(box.x1, other_box.x1) - max(box.x0, other_box.x0)
            overlap_y = min(box.y1, other_box.y1) - max(box.y0, other_box.y0)
            assert min(overlap_x, overlap_y) < 2, f"'{text}' overlaps '{other}'"


@pytest.mark.parametrize("chart", CHARTS, ids=NAMES)
def test_every_chart_names_its_data_set_and_number_of_seeds(chart):
    shown = " ".join(text for text, _ in texts(chart.draw(frame(study(3)))))
    assert "mnist, 10,000 test images, means of 3 seeds" in shown


@pytest.mark.parametrize("chart", CHARTS, ids=NAMES)
def test_a_chart_whose_rows_are_missing_is_not_drawn(chart):
    assert chart.draw(frame([make_row()])) is None


@pytest.mark.parametrize("chart", CHARTS, ids=NAMES)
def test_every_chart_can_stand_a_network_without_errors_and_one_that_learnt_nothing(chart):
    rows = study(2)
    rows = [
        make_row(**{**vars(row), "accuracy": 1.0 if row.model == "cnn_deep" else 0.098 if row.seed else 0.99})
        for row in rows
    ]
    assert len(texts(chart.draw(frame(rows)))) > 10


def test_times_are_compared_within_one_machine_and_the_axis_names_it():
    here = study(2)
    there = [
        replace(row, cpu="Slow", latency_ms=100 * row.latency_ms, accuracy=row.accuracy - 0.001)
        for row in here
        if row.model.startswith("cnn") or row.compress == "baseline"
    ]
    pairs = joined(frame(here + there), "quantize")
    assert (pairs["latency_ms"] / pairs["latency_ms_before"]).tolist() == pytest.approx([2.0] * 9)
    alone = joined(frame(here), "quantize")
    assert pairs["latency_ms"].tolist() == pytest.approx(alone["latency_ms"].tolist())
    assert (pairs["accuracy_before"] < alone["accuracy_before"]).all()
    shown = " ".join(text for text, _ in texts(quantization_impact.draw(frame(here + there)))).replace("\n", " ")
    assert "one thread (log) on A " in shown
    assert "AVX512" in shown
    assert "AVX512" not in " ".join(text for text, _ in texts(quantization_impact.draw(frame(here))))


def test_times_that_no_machine_measured_both_before_and_after_are_not_drawn():
    rows = [replace(row, cpu="B") if row.compress == "baseline" else row for row in study()]
    assert len(quantization_impact.draw(frame(rows)).axes) == 2
    assert len(quantization_impact.draw(frame(study())).axes) == 3


@pytest.mark.parametrize("chart", CHARTS, ids=NAMES)
def test_no_chart_shows_a_hash_where_a_setting_differs(chart):
    rows = study(2)
    rows += [
        replace(row, recipe="train.epochs=20 train.lr=0.01", **{name: f"{getattr(row, name)}-b" for name in HASHES})
        for row in rows
        if row.model == "cnn_simple"
    ]
    shown = [text for text, _ in texts(chart.draw(frame(rows)))]
    assert any("cnn_simple (train.lr=0.01)" in text for text in shown)
    assert not any("#" in text or "hash" in text for text in shown)


def test_every_student_names_all_its_teachers_and_what_differs():
    one = next(row for row in study() if row.compress == "distill")
    two = replace(one, teacher="a+b", variant_hash="v2", config_hash="c2")
    three = replace(one, settings="temperature=8", variant_hash="v3", config_hash="c3")
    names = students(summarise(frame([one, two, three])), methods=False)
    assert sorted(names) == [
        f"{one.model} (temperature=8) \u2190 {one.teacher}",
        f"{one.model} \u2190 a+b",
        f"{one.model} \u2190 {one.teacher}",
    ]


def test_all_methods_in_a_chart_look_different():
    methods = ["baseline", "quantize", "prune", "distill", *"abcdefgh"]
    assert len({style.look(method, methods) for method in methods}) == len(methods)


@pytest.mark.parametrize("accuracies", [(0.01, 0.999), (0.001, 0.02), (0.5, 0.5), (0.0, 1.0)])
@pytest.mark.parametrize("name", ["x", "y"])
def test_an_axis_has_ticks_for_any_number_of_classes_and_not_too_many(accuracies, name):
    axes = Figure().add_subplot()
    axis = getattr(axes, f"{name}axis")
    accuracy_axis.ticks(axis, accuracy_axis.scaled(pd.Series(accuracies)))
    places = axis.get_majorticklocs()
    assert 1 <= len(places) <= accuracy_axis.MOST_TICKS[name] + 2


def test_nothing_beats_the_front_and_everything_else_is_beaten():
    variants = summarise(frame(study()))
    front = accuracy_vs_size.pareto(variants)
    for index, line in variants.iterrows():
        beaten = (
            (variants["size_bytes"] <= line["size_bytes"])
            & (variants["accuracy"] >= line["accuracy"])
            & ((variants["size_bytes"] < line["size_bytes"]) | (variants["accuracy"] > line["accuracy"]))
        )
        assert front[index] != beaten.any()


def test_before_and_after_are_of_the_same_network():
    rows = study()
    other_recipe = [
        make_row(**{**vars(row), "network_hash": "other", "variant_hash": "o", "config_hash": "o", "accuracy": 0.5})
        for row in rows
        if row.model == "cnn_deep" and row.compress == "baseline"
    ]
    pairs = joined(frame(rows + other_recipe), "prune")
    assert len(pairs) == 9
    assert (pairs["accuracy_before"] > 0.9).all()


def test_before_and_after_are_of_the_same_seeds():
    rows = [row for row in study(3) if row.model == "cnn_deep"]
    kept = [row for row in rows if row.seed < 2 or row.compress != "baseline"]
    before, after = ([r.accuracy for r in kept if r.compress == c and r.seed < 2] for c in ("baseline", "prune"))
    [pair] = joined(frame(kept), "prune").to_dict("records")
    assert pair["seeds"] == 2
    assert pair["accuracy_before"] == pytest.approx(statistics.mean(before))
    assert pair["accuracy"] == pytest.approx(statistics.mean(after))
    differences = [now - then for then, now in zip(before, after, strict=True)]
    assert pair["gained_std"] == pytest.approx(statistics.stdev(differences))


@pytest.fixture
def outputs(tmp_path):
    for row in study():
        folder = tmp_path / "runs" / row.config_hash
        folder.mkdir(parents=True)
        write(row, folder)
    return tmp_path


def test_the_command_draws_every_chart_as_png_and_svg_and_can_be_repeated(outputs):
    assert main(["plot", str(outputs)]) == 0
    files = sorted((outputs / "plots").iterdir())
    assert [path.name for path in files] == sorted(f"{name}.{kind}" for name in NAMES for kind in ("png", "svg"))
    assert all(path.stat().st_size > 10_000 for path in files)
    assert main(["plot", str(outputs)]) == 0
    assert sorted((outputs / "plots").iterdir()) == files


def test_data_sets_get_charts_of_their_own(outputs):
    folder = outputs / "runs" / "other"
    folder.mkdir()
    write(make_row(dataset="fashion_mnist", data_fingerprint="f1"), folder)
    assert main(["plot", str(outputs), "--to", str(outputs / "charts")]) == 0
    assert sorted(path.name for path in (outputs / "charts").iterdir()) == ["fashion_mnist", "mnist"]


def test_charts_of_earlier_rows_do_not_stay(outputs, capsys):
    assert main(["plot", str(outputs)]) == 0
    folder = outputs / "runs" / "other"
    folder.mkdir()
    write(make_row(dataset="mnist_5k", data_fingerprint="f1"), folder)
    assert main(["plot", str(outputs)]) == 0
    assert [path.name for path in (outputs / "plots").iterdir() if path.is_file()] == []
    assert len(list((outputs / "plots" / "mnist").iterdir())) == 10
    for path in (outputs / "runs").glob("*-prune-0/metrics.csv"):
        path.unlink()
    assert main(["plot", str(outputs)]) == 0
    assert {path.stem for path in (outputs / "plots" / "mnist").iterdir()} == set(NAMES) - {"pruning_impact"}


def test_damaged_rows_and_missing_charts_are_named(tmp_path, capsys):
    write(make_row(), tmp_path)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "metrics.csv").write_text("nonsense")
    assert main(["plot", str(tmp_path)]) == 1
    shown = capsys.readouterr().err
    assert "bad/metrics.csv" in shown
    assert "skipped quantization_impact: its rows are missing; run kdbench sweep" in shown


def test_plotting_imports_no_torch(outputs):
    code = (
        "import sys; from kdbench.cli.main import main; status = main(['plot', sys.argv[1]]);"
        "sys.exit(status or 'torch' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code, str(outputs)], check=False, capture_output=True).returncode == 0
    )
