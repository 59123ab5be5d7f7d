import statistics
from dataclasses import replace

import pytest
from tests.conftest import make_row

from kdbench.errors import BadSetting
from kdbench.results.collect import by_dataset, collect
from kdbench.results.row import FILE, write
from kdbench.results.summary import beside_baselines, frame, machines, summarise, taught_by_no_better
from kdbench.results.table import markdown, text

HERE = {"cpu": "A", "threads": 2}
THERE = {"cpu": "B", "threads": 8}


def seeds(accuracies, **changes):
    return [
        make_row(seed=number, accuracy=value, config_hash=f"{changes}{number}", **changes)
        for number, value in enumerate(accuracies)
    ]


def test_means_and_standard_deviations_are_over_seeds():
    values = [0.991, 0.993, 0.998]
    [line] = summarise(frame(seeds(values))).to_dict("records")
    assert line["seeds"] == 3
    assert line["accuracy"] == pytest.approx(statistics.mean(values))
    assert line["accuracy_std"] == pytest.approx(statistics.stdev(values))


def test_one_seed_has_no_spread():
    assert summarise(frame(seeds([0.99])))["accuracy_std"].isna().all()
    assert "±" not in text(seeds([0.99]))
    assert "±" in text(seeds([0.99, 0.98]))


def test_the_same_run_twice_counts_once():
    assert summarise(frame([make_row(), make_row()]))["seeds"].tolist() == [1]


def test_only_variants_of_one_method_need_more_than_its_name():
    rows = [
        make_row(
            compress="prune",
            settings=f"sparsity={sparsity} finetune_epochs=3",
            variant_hash=str(sparsity),
            config_hash=str(sparsity),
        )
        for sparsity in (0.5, 0.9)
    ]
    assert list(summarise(frame(rows))["label"]) == ["prune (sparsity=0.5)", "prune (sparsity=0.9)"]
    assert list(summarise(frame(rows[:1]))["label"]) == ["prune"]


def test_machines_are_pooled_in_accuracy_and_kept_apart_in_time():
    here = make_row(**HERE, accuracy=0.99, latency_ms=1.0, throughput=100.0)
    there = make_row(**THERE, accuracy=0.98, latency_ms=3.0, throughput=300.0, seed=1, config_hash="other seed")
    runs = frame([here, there])
    [line] = summarise(runs).to_dict("records")
    assert line["accuracy"] == pytest.approx(0.985)
    assert line["seeds"] == 2
    assert [summarise(runs, place)["latency_ms"].item() for place in machines(runs)] == [1.0, 3.0]
    assert line["label"] == "baseline"
    shown = text([here, there])
    assert "1.00 / 3.00" in shown
    assert "100 / 300" in shown
    assert shown.index("A (family 25") < shown.index(" / B (family 25")


@pytest.mark.parametrize(
    "change", [{"cpu": "B"}, {"cpu_family": 6}, {"cpu_model": 1}, {"cpu_capability": "AVX2"}, {"threads": 8}]
)
def test_whatever_makes_another_machine_keeps_times_apart(change):
    runs = frame([make_row(latency_ms=1.0), make_row(latency_ms=3.0, **change)])
    assert len(runs) == len(machines(runs)) == 2
    assert summarise(runs)["latency_ms"].item() in (1.0, 3.0)


def test_a_seed_measured_on_two_machines_counts_once():
    rows = [
        make_row(**HERE, accuracy=0.98),
        make_row(**THERE, accuracy=0.96),
        make_row(**HERE, accuracy=0.91, seed=1, config_hash="c1"),
    ]
    [line] = summarise(frame(rows)).to_dict("records")
    assert line["seeds"] == 2
    assert line["accuracy"] == pytest.approx((0.97 + 0.91) / 2)
    assert line["accuracy_std"] == pytest.approx(statistics.stdev([0.97, 0.91]))


def test_a_machine_without_a_time_shows_a_dash():
    quantized = make_row(**HERE, compress="quantize", variant_hash="q", config_hash="q", latency_ms=7.0)
    fast = make_row(**THERE, latency_ms=2.0)
    shown = text([make_row(**HERE, latency_ms=1.0), fast, quantized])
    assert "1.00 / 2.00" in shown
    assert "7.00 / -" in shown


def test_before_and_after_are_paired_between_machines_but_their_times_are_not():
    before = make_row(**HERE, accuracy=0.99, latency_ms=1.0)
    after = make_row(
        **THERE, accuracy=0.98, latency_ms=5.0, compress="prune", variant_hash="p", config_hash="p", code_hash="other"
    )
    [pair] = beside_baselines(frame([before, after])).to_dict("records")
    assert pair["gained"] == pytest.approx(-0.01)
    assert pair["latency_ms"] == 5.0
    assert pair["latency_ms_before"] != pair["latency_ms_before"]
    both = beside_baselines(frame([before, replace(before, **THERE, latency_ms=4.0), after]))
    assert both["latency_ms_before"].tolist() == [4.0]
    more = [replace(after, cpu=cpu, date="later", latency_ms=9.0) for cpu in ("C", "D")]
    more += [replace(more[0], seed=1, config_hash="s")]
    most = beside_baselines(frame([replace(before, **THERE), after, *more]))
    assert most["latency_ms"].tolist() == [5.0]


@pytest.mark.parametrize("change", ["kdbench_version", "torch_version", "onnxruntime_version", "code_hash"])
def test_rows_of_other_versions_or_code_are_not_averaged(change):
    means = summarise(frame([make_row(), make_row(**{change: "9"}, seed=1, config_hash="c1")]))
    assert means["seeds"].tolist() == [1, 1]
    assert f"baseline ({change}=9)" in set(means["label"])


def test_before_and_after_are_of_one_version():
    after = make_row(compress="prune", variant_hash="p", config_hash="p", torch_version="9")
    assert len(beside_baselines(frame([make_row(), after]))) == 0


def test_of_one_run_on_one_machine_the_latest_row_counts():
    late, early = (make_row(errors=n, date=f"2026-01-0{n}T00:00:00Z") for n in (2, 1))
    assert frame([late, early])["errors"].tolist() == [2]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (
            "recipe",
            ["train.epochs=2 train.lr=0.0005", "train.epochs=2 train.lr=0.05", "train.epochs=10 train.lr=0.001"],
        ),
        ("settings", ["sparsity=0.5 steps=9", "sparsity=0.5 steps=10", "sparsity=0.95", "sparsity=5e1"]),
    ],
)
def test_networks_and_variants_that_differ_in_a_number_are_in_its_order(column, values):
    alike = "network_hash" if column == "recipe" else "variant_hash"
    rows = [make_row(**{column: value, alike: value, "config_hash": value}) for value in reversed(values)]
    assert summarise(frame(rows))[column].tolist() == values


def test_what_is_done_with_a_summary_changes_no_later_one_of_the_same_runs():
    runs = frame([make_row(), make_row(compress="prune", variant_hash="p", config_hash="p")])
    first = summarise(runs)
    first["accuracy"] = 0.0
    again, other = summarise(runs), summarise(frame([make_row(accuracy=0.5)]))
    assert (again["accuracy"] > 0).all()
    assert other["accuracy"].tolist() == [0.5]
    assert summarise(runs, machines(runs)[0]).equals(again)


def networks(*changes):
    """Return what networks of one model are called that differ in `changes`."""
    rows = [
        make_row(**{"network_hash": f"n{n}", "variant_hash": f"v{n}", "config_hash": f"c{n}"} | change)
        for n, change in enumerate(changes)
    ]
    return set(summarise(frame(rows))["name"])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            [{"recipe": "train.epochs=20 train.lr=0.01"}, {}],
            {"cnn_deep (train.lr=0.01)", "cnn_deep (train.lr=0.006)"},
        ),
        (
            [{"architecture": "model.widths=[8] model.convs=2"}, {}],
            {"cnn_deep (model.widths=[8])", "cnn_deep (model.widths=[32,64,128])"},
        ),
        ([{"weights": "lenet.pt:3fa9c1d2"}, {}], {"cnn_deep (weights=lenet.pt:3fa9c1d2)", "cnn_deep"}),
        ([{"precision": "fp32"}, {}], {"cnn_deep (precision=fp32)", "cnn_deep (precision=bf16)"}),
        ([{"seeds_together": 4}, {}], {"cnn_deep (seeds_together=4)", "cnn_deep (seeds_together=1)"}),
        ([{"code_hash": "ab"}, {}], {"cnn_deep (code_hash=ab)", "cnn_deep (code_hash=1a2b3c4d)"}),
        ([{}, {}], {"cnn_deep (network_hash=n0)", "cnn_deep (network_hash=n1)"}),
        ([{"model": "mlp"}, {}], {"mlp", "cnn_deep"}),
        # A row of the version before knows no settings: next to it the version is what differs.
        (
            [{"recipe": "", "architecture": "", "kdbench_version": "0.0.9"}, {}, {"recipe": "train.epochs=1"}],
            {
                "cnn_deep (kdbench_version=0.0.9)",
                "cnn_deep (kdbench_version=0.1.0 train.epochs=20 train.lr=0.006)",
                "cnn_deep (kdbench_version=0.1.0 train.epochs=1)",
            },
        ),
    ],
    ids=range(9),
)
def test_networks_that_share_a_name_are_told_apart_by_the_setting_that_differs(changes, expected):
    assert networks(*changes) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"settings": "temperature=8"}, {"distill (temperature=8)", "distill (temperature=2)"}),
        ({"teacher": "cnn_deep+resnet_deep"}, {"distill (cnn_deep+resnet_deep)", "distill (resnet_deep)"}),
        ({"teacher_settings": "teacher.train.epochs=3"}, {"distill (teacher.train.epochs=3)", "distill"}),
        ({"onnx_version": "1.20.0"}, {"distill (onnx_version=1.20.0)", "distill (onnx_version=1.19.0)"}),
        ({}, {"distill (variant_hash=v1)", "distill (variant_hash=v2)"}),
    ],
)
def test_variants_that_share_model_and_method_are_told_apart_by_the_setting_that_differs(change, expected):
    one = make_row(compress="distill", teacher="resnet_deep", settings="temperature=2", variant_hash="v1")
    other = replace(one, **{"variant_hash": "v2", "config_hash": "c2"} | change)
    assert set(summarise(frame([one, other]))["label"]) == expected


def test_rows_of_different_data_are_kept_apart():
    rows = [make_row(), make_row(dataset="mnist_5k", data_fingerprint="f1")]
    assert list(by_dataset(rows)) == ["mnist", "mnist_5k"]
    assert markdown(rows).count("| model |") == 2


def test_data_of_one_name_and_different_content_are_kept_apart():
    assert len(by_dataset([make_row(), make_row(data_fingerprint="f1")])) == 2


def test_damaged_rows_are_named_and_the_others_read(tmp_path):
    for name in ("good", "bad"):
        (tmp_path / name).mkdir()
        write(make_row(), tmp_path / name)
    (tmp_path / "bad" / FILE).write_text("nonsense")
    rows, damaged = collect(tmp_path)
    assert rows == [make_row()]
    assert len(damaged) == 1
    assert str(tmp_path / "bad" / FILE) in damaged[0]


@pytest.mark.parametrize("content", [None, "nonsense"])
def test_a_folder_without_rows_is_an_error_that_says_what_to_run(tmp_path, content):
    if content:
        (tmp_path / FILE).write_text(content)
    with pytest.raises(BadSetting, match="kdbench sweep"):
        collect(tmp_path)


def test_a_folder_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(BadSetting, match="no folder"):
        collect(tmp_path / "nowhere")


def test_a_teacher_is_held_against_the_same_network_under_the_same_seeds_alone():
    def row(compress, seed, accuracy, teacher_accuracy=None):
        return make_row(
            compress=compress,
            seed=seed,
            accuracy=accuracy,
            teacher="cnn_deep" if teacher_accuracy else None,
            teacher_accuracy=teacher_accuracy,
            variant_hash=compress,
            config_hash=f"{compress}-{seed}",
        )

    def marked(*rows):
        means = summarise(frame(rows))
        return bool(taught_by_no_better(means)[means["compress"] == "distill"].item())

    taught = row("distill", 0, 0.97, 0.95)
    assert marked(taught, row("baseline", 0, 0.96))
    assert not marked(taught, row("baseline", 0, 0.94))
    assert not marked(taught, row("baseline", 1, 0.96))  # of another seed: nothing is known
    assert not marked(taught, row("baseline", 0, 0.94), row("baseline", 1, 0.99))
