from dataclasses import replace

import numpy as np
import pytest
from tests.plots.rows import PRUNED, SPARSITIES, compressed, study
from tests.plots.test_charts import assert_all_text_can_be_read, words

from kdbench.plots import accuracy_axis, panels, pruning_curves, quantization_curves, structured_curves
from kdbench.results.summary import frame, summarise

CHARTS = [pruning_curves, structured_curves, quantization_curves]
NAMES = [chart.__name__.rpartition(".")[2] for chart in CHARTS]


def lines(axes):
    """What is drawn of the methods: x, y and style of each line."""
    joined = [line for line in axes.lines if line.get_linestyle() in ("-", "--") and line.get_marker() == "None"]
    return [(line.get_xdata().tolist(), line.get_ydata().tolist(), line.get_linestyle()) for line in joined]


@pytest.mark.parametrize("models", [("mlp_simple",), ("mlp_simple", "cnn_deep"), None], ids=["one", "two", "nine"])
@pytest.mark.parametrize("chart", CHARTS, ids=NAMES)
def test_no_text_is_clipped_and_no_two_overlap(chart, models):
    figure = chart.draw(frame(compressed(2, models) if models else compressed(2)))
    assert len(figure.axes) == (len(models) if models else 9)
    assert_all_text_can_be_read(figure)


@pytest.mark.parametrize("chart", CHARTS, ids=NAMES)
def test_they_are_not_drawn_of_networks_compressed_to_one_amount(chart):
    assert chart.draw(frame(study(2))) is None
    one = ("sparsity=0.9 finetune_lr_scale=1", "macs=0.5 multiple=1 finetune_lr", "bits=4")
    kept = [row for row in compressed(1) if not row.settings or row.settings.startswith(one)]
    rows = [row for row in kept if row.compress not in ("half", "quantize", "quantize_static")]
    assert chart.draw(frame(rows)) is None


def test_a_network_at_one_amount_beside_others_is_named_and_not_shown():
    rows = [row for row in compressed(1, ["mlp_simple", "cnn_deep"]) if row.compress in ("baseline", "shrink")]
    kept = [row for row in rows if row.model == "mlp_simple" or row.compress == "baseline"]
    kept += [row for row in rows if row.model == "cnn_deep" and row.compress == "shrink"][:1]
    figure = structured_curves.draw(frame(kept))
    assert len(figure.axes) == 1
    assert "not shown, at one amount only: cnn_deep" in words(figure)
    assert_all_text_can_be_read(figure)


@pytest.mark.parametrize("chart", CHARTS, ids=NAMES)
def test_what_was_trained_again_is_never_joined_with_what_was_not(chart):
    rows = compressed(1, ["mlp_simple"])
    bare = {accuracy_axis.scaled(row.accuracy) for row in rows if "finetune_epochs=0" in row.settings}
    again = {accuracy_axis.scaled(row.accuracy) for row in rows} - bare
    figure = chart.draw(frame(rows))
    for _, heights, style in lines(figure.axes[0]):
        assert set(heights) <= (bare if style == "--" else again)
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    dashed = [line.get_linestyle() == "--" for line in figure.legends[0].get_lines()]
    assert [name.endswith(", one-shot") for name in named] == dashed


def test_every_method_that_prunes_has_its_line_over_the_share_of_the_weights_that_is_left():
    figure = pruning_curves.draw(frame(compressed(2, ["cnn_deep"])))
    drawn = lines(figure.axes[0])
    assert len(drawn) == sum(1 + bare for _, bare in PRUNED.values())
    for x, _, _ in drawn:
        assert sorted(x, reverse=True) == pytest.approx([1 - sparsity for sparsity in SPARSITIES])
    [axes] = figure.axes
    assert [axes.xaxis.major.formatter(at) for at in sorted(axes.get_xticks(), reverse=True)] == [
        *("0", "50", "70", "80", "90", "95", "98", "99"),
    ]
    places = axes.transData.transform([(1 - sparsity, 0.1) for sparsity in (0, *SPARSITIES)])[:, 0]
    gaps = np.diff(places)
    assert gaps.min() > 0.04 * axes.get_window_extent().width  # told apart, the sparser to the right


def test_bits_are_those_of_a_setting_or_of_what_the_method_is():
    means = summarise(frame(compressed(1, ["cnn_deep"])))
    x = quantization_curves.prepared(means)["x"]
    for settings, bits in (("bits=3", 3), ("clusters=8", 3), ("clusters=256", 8), ("images=500 weight_bits=7", 7)):
        assert set(x[means["settings"] == settings]) == {bits}
    assert {*x[means["compress"] == "half"], *x[means["compress"] == "quantize"]} == {16, 8}
    assert x[means["compress"].isin(["baseline", "mixup", *PRUNED, "shrink"])].isna().all()


def test_multiply_adds_are_counted_and_compared_with_those_of_the_same_network():
    rows = compressed(1, ["cnn_deep"])
    [whole] = {row.macs for row in rows if row.compress == "baseline"}
    means = summarise(frame(rows))
    x = structured_curves.prepared(means)["x"]
    smaller = means["compress"].isin(["prune_structured", "shrink"])
    assert x[~smaller].isna().all()
    assert x[smaller].tolist() == pytest.approx((means["macs"][smaller] / whole).tolist())
    alone = [row for row in rows if row.compress != "baseline"]
    assert structured_curves.draw(frame(alone)) is None


def test_the_uncompressed_network_is_a_line_of_reference_and_stands_at_the_whole():
    rows = compressed(3, ["mlp_simple"])
    height = accuracy_axis.scaled(summarise(frame(rows)).query("compress == 'baseline'")["accuracy"].item())
    for chart, whole in zip(CHARTS, (1, 1, 32), strict=True):
        [axes] = chart.draw(frame(rows)).axes
        [level] = [line for line in axes.lines if line.get_linestyle() == ":"]
        assert set(level.get_ydata()) == {height}
        points = [tuple(xy) for bars in axes.containers for xy in bars.lines[0].get_xydata()]
        assert (whole, height) in points
        without = chart.draw(frame([row for row in rows if row.compress != "baseline"]))
        assert without is None or all(line.get_linestyle() != ":" for line in without.axes[0].lines)


def test_the_chart_says_over_how_many_seeds_and_what_the_bars_are():
    for chart in CHARTS:
        assert "means of 3 seeds, bars: ± 1 standard deviation" in words(
            chart.draw(frame(compressed(3, ["mlp_deep"])))
        )


def test_settings_that_differ_are_lines_of_their_own_by_name_and_older_code_is_left_out():
    rows = compressed(1, ["mlp_simple"])
    lottery = [row for row in rows if row.compress == "prune_lottery"]
    other = [
        replace(
            row, settings=f"{row.settings} rewind=another", variant_hash=f"{row.variant_hash}r", config_hash=f"{n}r"
        )
        for n, row in enumerate(lottery)
    ]
    before, after = (pruning_curves.draw(frame(some)) for some in (rows, [*rows, *other]))
    assert "prune_lottery (rewind=another)" in words(after)
    assert len(lines(after.axes[0])) == len(lines(before.axes[0])) + 1
    older = [replace(row, code_hash="01de0001", date="2020-01-01T00:00:00Z", accuracy=0.5) for row in lottery[:3]]
    again = pruning_curves.draw(frame([*rows, *older]))
    assert sorted(lines(again.axes[0])) == sorted(lines(before.axes[0]))


def test_no_more_panels_than_have_room_and_the_chart_says_so():
    rows = compressed(1, ["mlp_simple"])
    many = [
        replace(
            row,
            **{name: f"{getattr(row, name)}-{n}" for name in ("network_hash", "variant_hash", "config_hash")},
            recipe=f"train.epochs={n}",
        )
        for n in range(14)
        for row in rows
    ]
    figure = pruning_curves.draw(frame(many))
    assert len(figure.axes) == panels.MOST
    assert "the first 12 of 14 networks" in words(figure)
