from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plots.rows import compressed, study
from tests.plots.test_charts import assert_all_text_can_be_read, words

from kdbench.plots import accuracy_axis, accuracy_vs_size, front, latency_vs_accuracy, pareto
from kdbench.results.summary import frame, summarise

CHARTS = [accuracy_vs_size, latency_vs_accuracy, pareto]
NAMES = [chart.__name__.rpartition(".")[2] for chart in CHARTS]


def beaten(variants, column):
    """Whether any other is at least as good on both, and better on one: by comparing each with each."""
    lines = variants[[column, "accuracy"]].to_numpy()
    return [any(b <= cost and a >= acc and (b, a) != (cost, acc) for b, a in lines) for cost, acc in lines]


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=20))
def test_the_front_is_exactly_what_nothing_beats_ties_among_it(points):
    variants = pd.DataFrame(points, columns=["size_bytes", "accuracy"]) / 6
    assert [*~front.front(variants, "size_bytes")] == beaten(variants, "size_bytes")


@pytest.mark.parametrize("cost", [front.DENSE, front.PACKED, front.LATENCY])
def test_the_front_of_a_study_is_what_nothing_beats(cost):
    variants = summarise(frame(study()))
    assert [*~front.front(variants, cost.column)] == beaten(variants, cost.column)


def drawn(axes):
    """Where markers stand."""
    return {(x, y) for bars in axes.containers for x, y in bars.lines[0].get_xydata()}


@pytest.mark.parametrize("chart", CHARTS, ids=NAMES)
def test_what_is_drawn_is_every_variant_and_the_front_joins_those_on_it(chart):
    variants = summarise(frame(study()))
    for axes, cost in zip(chart.draw(frame(study())).axes, costs_of(chart), strict=True):
        heights = accuracy_axis.scaled(variants["accuracy"])
        assert drawn(axes) == set(zip(variants[cost.column], heights, strict=True))
        best = front.on_front(variants, cost)
        [line] = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
        assert [*line.get_xdata()] == [*best[cost.column]]
        assert [*line.get_ydata()] == [*heights[best.index]]


def costs_of(chart):
    of_pareto = [front.PACKED, front.LATENCY]
    return {accuracy_vs_size: [front.DENSE], latency_vs_accuracy: [front.LATENCY]}.get(chart, of_pareto)


def test_no_variant_without_times_stands_in_the_chart_of_times():
    untimed = [replace(row, latency_ms=None) if row.model == "mlp_deep" else row for row in study()]
    figure = latency_vs_accuracy.draw(frame(untimed))
    timed = summarise(frame(untimed)).dropna(subset="latency_ms")
    assert drawn(figure.axes[0]) == set(
        zip(timed["latency_ms"], accuracy_axis.scaled(timed["accuracy"]), strict=True)
    )
    assert "4 of 36 variants have none" in words(figure)
    assert "mlp_deep" not in words(figure)
    one = [replace(row, latency_ms=None) if number else row for number, row in enumerate(study())]
    assert latency_vs_accuracy.draw(frame(one)) is None


def test_times_are_those_of_one_machine_and_the_axis_names_it():
    elsewhere = [replace(row, cpu="Slow", latency_ms=100.0) for row in study() if row.model == "cnn_deep"]
    figure = latency_vs_accuracy.draw(frame([*study(), *elsewhere]))
    assert max(x for x, _ in drawn(figure.axes[0])) < 100
    assert "with a comma (family 25" in words(figure)
    assert "with a comma" not in words(latency_vs_accuracy.draw(frame(study())))


def test_rows_of_before_there_were_packed_files_have_no_chart_of_them():
    older = [replace(row, packed_bytes=None) for row in study()]
    assert pareto.draw(frame(older)) is None
    some = [replace(row, packed_bytes=None) if row.model == "mlp_deep" else row for row in study()]
    assert "4 of 36 variants have none" in words(pareto.draw(frame(some)))


def test_a_front_of_few_has_names_beside_it_and_one_of_many_numbers_and_a_list():
    few = [row for row in study() if row.model.startswith("mlp")]
    variants = summarise(frame(few))
    best = front.on_front(variants, front.DENSE)
    shown = words(accuracy_vs_size.draw(frame(few)))
    assert all(f"{line['name']} {line['label']}" in shown for _, line in best.iterrows())
    many = frame(compressed(1))
    figure = accuracy_vs_size.draw(many)
    means = summarise(many)
    best = front.on_front(front.in_view(means), front.DENSE)
    [listed] = [text.get_text() for text in figure.axes[0].texts if "\n" in text.get_text()]
    assert [line.split("  ", 1)[0] for line in listed.splitlines()] == [str(n + 1) for n in range(len(best))]
    assert [line.split("  ", 1)[1] for line in listed.splitlines()] == [
        f"{line['name']} {line['label']}" for _, line in best.iterrows()
    ]
    assert {text.get_text() for text in figure.axes[0].texts} == {listed, *(str(n + 1) for n in range(len(best)))}


def test_who_errs_far_more_than_any_baseline_is_out_of_view_and_counted():
    rows = study()
    errors = max(1 - row.accuracy for row in rows if row.compress == "baseline")
    broken = replace(rows[1], accuracy=0.1, settings="bits=1", variant_hash="b", config_hash="b", size_bytes=1)
    near = replace(broken, accuracy=1 - front.OUT_OF_VIEW * errors + 1e-6, variant_hash="n", config_hash="n")
    figure = accuracy_vs_size.draw(frame([*rows, broken]))
    assert "1 that err over 5 times" in words(figure)
    assert 1 not in {x for x, _ in drawn(figure.axes[0])}
    assert 1 in {x for x, _ in drawn(accuracy_vs_size.draw(frame([*rows, near])).axes[0])}
    alone = [row for row in [*rows, broken] if row.compress != "baseline"]
    assert 1 in {x for x, _ in drawn(accuracy_vs_size.draw(frame(alone)).axes[0])}


@pytest.mark.parametrize("chart", CHARTS, ids=NAMES)
def test_charts_of_twenty_methods_and_nine_networks_can_be_read(chart):
    kept = (
        "sparsity=0.9 finetune_lr_scale=1",
        "bits=4",
        "clusters=16",
        "macs=0.5 multiple=1 finetune_lr_scale=1",
        "keep=0.5",
    )
    rows = [
        row for row in compressed(1) if not row.settings or row.settings.startswith((*kept, "weight=", "images="))
    ]
    assert len({row.compress for row in rows}) >= 20
    assert_all_text_can_be_read(chart.draw(frame(rows)))
