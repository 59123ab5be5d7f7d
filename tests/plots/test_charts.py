import statistics
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from tests.conftest import make_row
from tests.plots.rows import series, study

from kdbench.cli.main import main
from kdbench.plots import (
    accuracy_axis,
    accuracy_vs_size,
    distillation_impact,
    fidelity,
    generations,
    latency_vs_accuracy,
    pareto,
    pruning_impact,
    quantization_impact,
    style,
    teacher_vs_student,
    temperature,
    ticks,
    transfer_curve,
)
from kdbench.plots.before_after import joined
from kdbench.results.names import students
from kdbench.results.row import write
from kdbench.results.summary import frame, summarise

OF_ONE_METHOD = [distillation_impact, quantization_impact, pruning_impact]
CHARTS = [accuracy_vs_size, latency_vs_accuracy, pareto, teacher_vs_student, fidelity, *OF_ONE_METHOD]
SERIES = [temperature, transfer_curve, generations, fidelity]
HASHES = ("config_hash", "variant_hash", "network_hash")
NAMES = [chart.__name__.rpartition(".")[2] for chart in CHARTS]
TABLES = [f"compression_table.{kind}" for kind in ("csv", "md", "tex")]


def texts(figure) -> list[tuple[str, object]]:
    canvas = FigureCanvasAgg(figure)
    figure.draw_without_rendering()
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
    assert_all_text_can_be_read(chart.draw(frame(study(seeds))))


@pytest.mark.parametrize("chart", OF_ONE_METHOD, ids=NAMES[-3:])
def test_charts_of_one_method_have_room_for_long_names_and_several_machines(chart):
    rows = study(2)
    rows += [
        replace(row, recipe="train.epochs=6 train.lr=0.01", **{name: f"{getattr(row, name)}-b" for name in HASHES})
        for row in rows
        if row.model.endswith("simple")
    ]
    rows += [replace(row, cpu="Intel(R) Xeon(R) Platinum 8370C CPU @ 2.80GHz") for row in rows if row.seed]
    rows += [replace(row, cpu="Intel(R) Xeon(R) Platinum 8370C CPU @ 2.80GHz", threads=8) for row in rows]
    assert_all_text_can_be_read(chart.draw(frame(rows)))


def assert_all_text_can_be_read(figure):
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
    shown = " ".join(text.get_text() for text in chart.draw(frame(study(3))).texts)
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
    pairs = joined(frame(here + there), ["quantize"])
    assert (pairs["latency_ms"] / pairs["latency_ms_before"]).tolist() == pytest.approx([2.0] * 9)
    alone = joined(frame(here), ["quantize"])
    assert pairs["latency_ms"].tolist() == pytest.approx(alone["latency_ms"].tolist())
    assert (pairs["accuracy_before"] < alone["accuracy_before"]).all()
    here, there = ([row for row in rows if row.model == "cnn_deep"] for rows in (here, there))
    shown = words(quantization_impact.draw(frame(here + there)))
    assert "range of the passes) on A " in shown
    assert "AVX512" in shown
    assert "AVX512" not in words(quantization_impact.draw(frame(here)))


def test_times_that_no_machine_measured_both_before_and_after_are_not_drawn():
    older = [replace(row, speedup=None, throughput_ratio=None) for row in study()]
    rows = [replace(row, cpu="B") if row.compress == "baseline" else row for row in older]
    assert len(quantization_impact.draw(frame(rows)).axes) == 4
    assert len(quantization_impact.draw(frame(older)).axes) == 5


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


ACCURACIES = [0.1, 0.5, 0.85, 0.92, 0.97, 0.999]
MIXTURES = [(low, high) for number, low in enumerate(ACCURACIES) for high in ACCURACIES[number:]]


@pytest.mark.parametrize("accuracies", [*MIXTURES, (0.001, 0.02), (0.0, 1.0), (1.0, 1.0), (0.0, 0.0)])
@pytest.mark.parametrize("name", ["x", "y"])
def test_an_axis_has_ticks_for_any_accuracies_and_not_too_many(accuracies, name):
    axis = getattr(Figure().add_subplot(), f"{name}axis")
    accuracy_axis.span(axis, accuracy_axis.scaled(pd.Series(accuracies)))
    assert 2 <= len(labels(axis)) <= accuracy_axis.MOST_TICKS[name] + 2


def labels(axis) -> list[str]:
    """The ticks of an axis that can be seen, no two of which say the same."""
    low, high = axis.get_view_interval()
    shown = [axis.major.formatter(place) for place in axis.get_majorticklocs() if low <= place <= high]
    assert len(set(shown)) == len(shown)
    return shown


@pytest.mark.parametrize("accuracies", [*[(one, one) for one in ACCURACIES], (0.85, 0.92), (0.1, 0.999)])
def test_charts_of_any_accuracies_can_be_read(accuracies):
    low, high = accuracies
    rows = [
        replace(row, accuracy=low + number % 4 * (high - low) / 3)
        for number, row in enumerate(study())
        if row.model in ("cnn_simple", "mlp_deep")
    ]
    runs = frame(rows)
    for chart, name in ((accuracy_vs_size, "y"), (distillation_impact, "x")):
        figure = chart.draw(runs)
        assert_all_text_can_be_read(figure)
        shown = labels(getattr(figure.axes[0], f"{name}axis"))
        assert len(shown) >= 3
        assert all(text.endswith("%") for text in shown)


@pytest.mark.parametrize("ends", [(21e3, 55e3), (0.95, 1.05), (1e-4, 3e6), (0.3, 4.1), (14, 57), (9.99, 10.01e1)])
@pytest.mark.parametrize("most", [4, 12])
def test_a_log_axis_has_at_least_two_round_numbers_and_not_too_many(ends, most):
    places = ticks.round_numbers(*ends, most)
    assert 2 <= len(places) <= most + 2
    assert ends[0] * 0.999 < places.min() < places.max() < ends[1] * 1.001
    assert all(float(f"{place:.3g}") == pytest.approx(place) for place in places)


def quantized(**changes):
    """A network before and after, each with these figures."""
    times = {"speedup": 0.8, "speedup_low": 0.7, "speedup_high": 0.9}
    times |= {"throughput_ratio": 2.5, "throughput_ratio_low": 2.4, "throughput_ratio_high": 2.6}
    hashes = {name: changes.get("model", "q") for name in ("variant_hash", "config_hash")}
    network = {"network_hash": changes.get("model", "n")}
    after = make_row(compress="quantize", size_bytes=300_000, **hashes | times | network | changes)
    return [make_row(**network | {"config_hash": f"b{network}", "model": after.model}), after]


def words(figure) -> str:
    return " ".join(text for text, _ in texts(figure)).replace("\n", " ")


UNTIMED = dict.fromkeys(
    [
        *("latency_ms", "latency_min_ms", "latency_p90_ms", "throughput"),
        *(f"{ratio}{end}" for ratio in ("speedup", "throughput_ratio") for end in ("", "_low", "_high")),
    ]
)


def test_ratios_of_files_timed_in_turn_are_shown_and_not_milliseconds():
    shown = words(quantization_impact.draw(frame(quantized())))
    for part in ("0.80x", "2.50x", "one image at a time", "batches of 256"):
        assert part in shown
    assert "ms for one image" not in shown


def test_int8_on_fixed_grids_has_its_own_line_beside_that_on_dynamic_ones():
    static = [
        replace(row, compress="quantize_static", variant_hash="s", config_hash="s", speedup=2.86)
        for row in quantized()
        if row.compress == "quantize"
    ]
    figure = quantization_impact.draw(frame([*quantized(), *static]))
    assert_all_text_can_be_read(figure)
    shown = words(figure)
    assert "quantize_static" in shown
    assert (shown.count("0.80x"), shown.count("2.86x")) == (1, 1)


def test_the_range_of_a_ratio_is_that_of_all_seeds():
    low = quantized(speedup_low=0.5)
    high = [replace(row, seed=1, config_hash=f"{row.config_hash}1", speedup_high=1.2) for row in quantized()]
    [line] = joined(frame(low + high), ["quantize"]).to_dict("records")
    assert (line["speedup"], line["speedup_low"], line["speedup_high"]) == (0.8, 0.5, 1.2)


def test_rows_without_ratios_show_milliseconds_and_what_they_are_of():
    shown = words(quantization_impact.draw(frame(quantized(**{n: None for n in UNTIMED if n != "latency_ms"}))))
    assert "ms for one image, one thread (log)" in shown
    assert "batches of 256" not in shown


def test_a_row_whose_timing_was_disturbed_is_left_out_of_the_panels_of_times_and_the_chart_says_so():
    rows = [*quantized(), *quantized(model="other", **UNTIMED)]
    figure = quantization_impact.draw(frame(rows))
    assert_all_text_can_be_read(figure)
    shown = words(figure)
    assert shown.count("disturbed: no times") == 2
    assert (shown.count("0.80x"), shown.count("2.50x")) == (1, 1)
    alone = quantization_impact.draw(frame(quantized(**UNTIMED)))
    assert "no times: all were disturbed" in words(alone)
    assert len(alone.axes) == 4
    assert "disturbed" not in words(quantization_impact.draw(frame(quantized())))


def test_before_and_after_are_of_the_same_network():
    rows = study()
    other_recipe = [
        make_row(**{**vars(row), "network_hash": "other", "variant_hash": "o", "config_hash": "o", "accuracy": 0.5})
        for row in rows
        if row.model == "cnn_deep" and row.compress == "baseline"
    ]
    pairs = joined(frame(rows + other_recipe), ["prune"])
    assert len(pairs) == 9
    assert (pairs["accuracy_before"] > 0.9).all()


def test_before_and_after_are_of_the_same_seeds():
    rows = [row for row in study(3) if row.model == "cnn_deep"]
    kept = [row for row in rows if row.seed < 2 or row.compress != "baseline"]
    before, after = ([r.accuracy for r in kept if r.compress == c and r.seed < 2] for c in ("baseline", "prune"))
    [pair] = joined(frame(kept), ["prune"]).to_dict("records")
    assert pair["seeds"] == 2
    assert pair["accuracy_before"] == pytest.approx(statistics.mean(before))
    assert pair["accuracy"] == pytest.approx(statistics.mean(after))
    differences = [now - then for then, now in zip(before, after, strict=True)]
    assert pair["gained_std"] == pytest.approx(statistics.stdev(differences))


@pytest.fixture
def outputs(tmp_path):
    for row in study():
        if row.model.partition("_")[0] != "cnn":
            continue
        folder = tmp_path / "runs" / row.config_hash
        folder.mkdir(parents=True)
        write(row, folder)
    return tmp_path


def test_the_command_draws_every_chart_as_png_and_svg_and_can_be_repeated(outputs, monkeypatch):
    assert main(["plot", str(outputs)]) == 0
    files = sorted((outputs / "plots").iterdir())
    charts = [f"{name}.{kind}" for name in NAMES for kind in ("png", "svg")]
    assert [path.name for path in files] == sorted([*charts, *TABLES])
    assert all(path.stat().st_size > 10_000 for path in files if path.name in charts)
    monkeypatch.setattr(Figure, "savefig", lambda self, file, **_: file.write(b"nothing"))
    assert main(["plot", str(outputs)]) == 0
    assert sorted((outputs / "plots").iterdir()) == files


def test_data_sets_get_charts_of_their_own(outputs, unpainted):
    folder = outputs / "runs" / "other"
    folder.mkdir()
    write(make_row(dataset="fashion_mnist", data_fingerprint="f1"), folder)
    assert main(["plot", str(outputs), "--to", str(outputs / "charts")]) == 0
    assert sorted(path.name for path in (outputs / "charts").iterdir()) == ["fashion_mnist", "mnist"]


def test_charts_of_earlier_rows_do_not_stay(outputs, unpainted):
    assert main(["plot", str(outputs)]) == 0
    folder = outputs / "runs" / "other"
    folder.mkdir()
    write(make_row(dataset="mnist_5k", data_fingerprint="f1"), folder)
    assert main(["plot", str(outputs)]) == 0
    assert [path.name for path in (outputs / "plots").iterdir() if path.is_file()] == []
    assert len(list((outputs / "plots" / "mnist").iterdir())) == 2 * len(NAMES) + len(TABLES)
    for path in (outputs / "runs").glob("*-prune-0/metrics.csv"):
        path.unlink()
    assert main(["plot", str(outputs)]) == 0
    assert {path.stem for path in (outputs / "plots" / "mnist").iterdir()} == {
        *(*NAMES, "compression_table"),
    } - {"pruning_impact"}


def test_damaged_rows_and_missing_charts_are_named(tmp_path, capsys):
    write(make_row(), tmp_path)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "metrics.csv").write_text("nonsense")
    assert main(["plot", str(tmp_path)]) == 1
    shown = capsys.readouterr().err
    assert "bad/metrics.csv" in shown
    assert "skipped quantization_impact: there is no row of compress=quantize" in shown


def test_plotting_imports_no_torch(outputs):
    code = (
        "import sys; from kdbench.cli.main import main; from matplotlib.figure import Figure;"
        "Figure.savefig = lambda self, file, **_: file.write(b'nothing');"
        "status = main(['plot', sys.argv[1]]); sys.exit(status or 'torch' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code, str(outputs)], check=False, capture_output=True).returncode == 0
    )


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("chart", SERIES, ids=[chart.__name__.rpartition(".")[2] for chart in SERIES])
def test_charts_over_a_setting_have_no_text_clipped_or_overlapping(chart, seeds):
    assert_all_text_can_be_read(chart.draw(frame(series(seeds))))


@pytest.mark.parametrize("chart", SERIES, ids=[chart.__name__.rpartition(".")[2] for chart in SERIES])
def test_charts_over_a_setting_are_not_drawn_without_it(chart):
    assert chart.draw(frame([make_row()])) is None
    assert chart is fidelity or chart.draw(frame(study(1))) is None


def curve(axes, number):
    return [[float(value) for value in axes.lines[number].get_data()[part]] for part in (0, 1)]


def test_students_of_an_experiment_are_called_as_it_calls_its_runs():
    rows = [row for row in study(3) if row.model.startswith("mlp")]
    called = {row.config_hash: "on few images" for row in rows if row.model == "mlp_simple" and row.teacher}
    shown, before = (words(fidelity.draw(frame(rows, names))) for names in (called, None))
    assert "mlp_simple \u2190" in before
    assert "on few images" in shown
    assert "mlp_simple \u2190" not in shown
    assert "mlp_medium \u2190" in shown  # of the others, what they are


def test_generations_begin_with_the_network_itself():
    rows = series(1)
    axes = generations.draw(frame(rows)).axes[0]
    x, y = curve(axes, 0)
    assert x == [0, 1, 2, 3]
    (bare,) = [row for row in rows if row.model == "cnn_simple" and row.compress == "baseline"]
    assert y[0] == pytest.approx(accuracy_axis.scaled(bare.accuracy))


def test_a_second_line_at_one_place_does_not_take_the_curve_away():
    rows = series(1)
    (one, *_) = [row for row in rows if "temperature=" in row.settings]
    robust = replace(one, robust_eps=0.1, robust_accuracy=0.5, variant_hash="robust", config_hash="robust")
    alone, beside = (temperature.draw(frame(lines)) for lines in (rows, [*rows, robust]))
    assert len(alone.axes[0].lines) == len(beside.axes[0].lines)
    assert curve(alone.axes[0], 0)[0] == curve(beside.axes[0], 0)[0]


def test_curves_are_of_what_differs_in_the_setting_alone():
    figure = transfer_curve.draw(frame(series(1)))
    shown = words(figure)
    assert all(kind in shown for kind in ("munge", "noise", "resampled"))
    assert "images:" not in shown
    x, _ = curve(figure.axes[0], 0)
    assert x == [1_000, 10_000, 100_000, 400_000]


def test_a_curve_of_images_that_are_added_begins_with_the_training_set_and_stands_beside_who_learnt_alone():
    def added(row):
        words = row.settings.replace("transfer=", "transfer=['train',") + "]"
        return replace(row, settings=words, transfer_images=row.transfer_images + 500)

    rows = series(1)
    kinds = [added(row) for row in rows if "'data':" in row.settings]
    (first, *_), recipe = kinds, "train.epochs={} train.lr=0.006"
    own = {"network_hash": "net-longest", "recipe": recipe.format(8000)}
    train = replace(first, settings="temperature=2 alpha=0 transfer=train", transfer_images=500, accuracy=0.7,
                    variant_hash="train", config_hash="train", **own)  # fmt: skip
    briefly = replace(train, accuracy=0.65, recipe=recipe.format(80), network_hash="net-brief", variant_hash="brief",
                      config_hash="brief")  # fmt: skip
    long = replace(rows[0], model="mlp_simple", accuracy=0.6, variant_hash="long", config_hash="long", **own)
    short = replace(long, recipe=recipe.format(40), network_hash="net-short", accuracy=0.5, variant_hash="short",
                    config_hash="short")  # fmt: skip
    figure = transfer_curve.draw(frame([*kinds, train, briefly, long, short]))
    (axes,) = figure.axes
    shown = words(figure)
    for number, kind in enumerate(("munge", "noise", "resampled")):
        x, y = curve(axes, number)
        assert x == [500, 1_500, 10_500, 100_500, 400_500]
        assert y[0] == pytest.approx(accuracy_axis.scaled(0.7))
        assert f"train+{kind}" in shown
    assert "mlp_simple (train.epochs=8000) without a teacher" in shown
    dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert [line.get_ydata()[0] for line in dashed] == [pytest.approx(accuracy_axis.scaled(0.6))]


@pytest.mark.parametrize(
    "apart", [{"precision": "fp32"}, {"weights": "w.pt:1", "origin": "given"}, {"device": "cuda"}]
)
def test_who_was_trained_in_another_way_has_a_curve_of_its_own(apart):
    def mark(row):
        return replace(row, **apart, variant_hash=f"{row.variant_hash}-2") if row.transfer_images == 10_000 else row

    axes = transfer_curve.draw(frame([mark(row) for row in series(1)])).axes[0]
    x, _ = curve(axes, 0)
    assert x == [1_000, 100_000, 400_000]


def test_rows_of_before_a_column_was_written_have_curves_too():
    rows = [replace(row, seeds_together=None) for row in series(1)]
    assert len(transfer_curve.draw(frame(rows)).axes[0].lines) == len(
        transfer_curve.draw(frame(series(1))).axes[0].lines
    )


def test_of_two_temperatures_no_curve_is_drawn():
    rows = [row for row in series(1) if "temperature=1 " in row.settings or "temperature=8 " in row.settings]
    assert temperature.draw(frame(rows)) is None


@pytest.mark.parametrize("chart", [temperature, transfer_curve, generations])
def test_labels_keep_clear_of_error_bars(chart):
    figure = chart.draw(frame(series(3)))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    labels = [text.get_window_extent() for text in axes.texts if "without" not in text.get_text()]
    bars = [axes.transData.transform(bar) for lines in axes.collections for bar in lines.get_segments()]
    assert labels
    assert len(bars) > 3
    for bar in bars:
        for point in np.linspace(*bar, 40):
            assert not any(box.contains(*point) for box in labels)
