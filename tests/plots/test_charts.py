import statistics
import subprocess
import sys

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from tests.conftest import make_row
from tests.plots.rows import study

from kdbench.cli import plot
from kdbench.plots import (
    accuracy_vs_size,
    distillation_impact,
    pruning_impact,
    quantization_impact,
    teacher_vs_student,
)
from kdbench.results.row import write
from kdbench.results.summary import frame, summarise

CHARTS = [accuracy_vs_size, distillation_impact, teacher_vs_student, quantization_impact, pruning_impact]
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
    figure = chart.draw(frame(study(seeds)))
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
def test_every_chart_says_its_data_set_and_number_of_seeds(chart):
    said = " ".join(text for text, _ in texts(chart.draw(frame(study(3)))))
    assert "mnist, 10,000 test images, means of 3 seeds" in said


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
    from kdbench.plots.before_after import joined

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
    from kdbench.plots.before_after import joined

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
    assert plot.main([str(outputs)]) == 0
    files = sorted((outputs / "plots").iterdir())
    assert [path.name for path in files] == sorted(f"{name}.{kind}" for name in NAMES for kind in ("png", "svg"))
    assert all(path.stat().st_size > 10_000 for path in files)
    assert plot.main([str(outputs)]) == 0
    assert sorted((outputs / "plots").iterdir()) == files


def test_data_sets_get_charts_of_their_own(outputs):
    folder = outputs / "runs" / "other"
    folder.mkdir()
    write(make_row(dataset="fashion_mnist", data_fingerprint="f1"), folder)
    assert plot.main([str(outputs), "--to", str(outputs / "charts")]) == 0
    assert sorted(path.name for path in (outputs / "charts").iterdir()) == ["fashion_mnist", "mnist"]


def test_charts_of_earlier_rows_do_not_stay(outputs, capsys):
    assert plot.main([str(outputs)]) == 0
    folder = outputs / "runs" / "other"
    folder.mkdir()
    write(make_row(dataset="mnist_5k", data_fingerprint="f1"), folder)
    assert plot.main([str(outputs)]) == 0
    assert [path.name for path in (outputs / "plots").iterdir() if path.is_file()] == []
    assert len(list((outputs / "plots" / "mnist").iterdir())) == 10
    for path in (outputs / "runs").glob("*-prune-0/metrics.csv"):
        path.unlink()
    assert plot.main([str(outputs)]) == 0
    assert {path.stem for path in (outputs / "plots" / "mnist").iterdir()} == set(NAMES) - {"pruning_impact"}


def test_damaged_rows_and_missing_charts_are_named(tmp_path, capsys):
    write(make_row(), tmp_path)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "metrics.csv").write_text("nonsense")
    assert plot.main([str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "bad/metrics.csv" in said
    assert "skipped quantization_impact: its rows are missing; run kdbench sweep" in said


def test_plotting_imports_no_torch(outputs):
    code = (
        "import sys; from kdbench.cli.main import main; status = main(['plot', sys.argv[1]]);"
        "sys.exit(status or 'torch' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code, str(outputs)], check=False, capture_output=True).returncode == 0
    )
