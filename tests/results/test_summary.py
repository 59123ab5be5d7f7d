import statistics
from dataclasses import replace

import pytest
from tests.conftest import make_row

from kdbench.errors import BadSetting
from kdbench.results.collect import by_dataset, collect
from kdbench.results.row import FILE, write
from kdbench.results.summary import beside_baselines, frame, summarise
from kdbench.results.table import markdown, text


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


def test_variants_of_one_method_are_told_apart_by_what_differs():
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


def test_rows_of_two_machines_are_neither_averaged_nor_compared():
    here = make_row(cpu="A", latency_ms=1.0)
    there = make_row(cpu="B", latency_ms=3.0, seed=1, config_hash="other seed")
    assert summarise(frame([here, there]))["latency_ms"].tolist() == [1.0, 3.0]
    assert set(summarise(frame([here, there]))["label"]) == {"baseline (A)", "baseline (B)"}
    assert len(frame([here, replace(here, cpu="B")])) == 2  # one folder copied from each machine
    pruned = make_row(cpu="B", compress="prune", config_hash="pruned", seed=here.seed)
    assert len(beside_baselines(frame([here, pruned]))) == 0
    assert len(beside_baselines(frame([replace(here, cpu="B"), pruned]))) == 1


def test_networks_that_share_a_name_are_told_apart():
    rows = [make_row(network_hash=name, variant_hash=name, config_hash=name) for name in ("abcdef", "123456")]
    assert set(summarise(frame(rows))["name"]) == {"cnn_deep #abcd", "cnn_deep #1234"}


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
