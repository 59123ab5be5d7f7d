"""Which runs several values ask for."""

import pytest

from kdbench.errors import BadSetting
from kdbench.settings.choices import EVERYTHING, config_dir, options
from kdbench.settings.combinations import combinations

ONE = {"model": "mlp_simple", "compress": "baseline"}


def test_left_out_it_is_every_model_under_every_treatment():
    runs = combinations({"seed": 1})
    assert len(runs) == 36
    ours = {name for name in options("model", [config_dir()]) if name.partition("_")[0] in ("mlp", "cnn", "resnet")}
    assert {run["model"] for run in runs} == ours
    assert {run["compress"] for run in runs} == set(EVERYTHING["compress"].split(","))
    assert {run["seed"] for run in runs} == {1}


@pytest.mark.parametrize("seeds", [[0, 1, 2], (0, 1, 2), range(3)])
def test_lists_tuples_and_ranges_make_a_run_for_each_value(seeds):
    runs = combinations(ONE | {"seed": seeds, "train": {"lr": [0.1, 0.2]}})
    assert [(run["seed"], run["train.lr"]) for run in runs] == [(s, lr) for s in (0, 1, 2) for lr in (0.1, 0.2)]


@pytest.mark.parametrize(
    ("typed", "names"),
    [("mlp_deep,cnn_deep", ["mlp_deep", "cnn_deep"]), ("glob(mlp*)", ["mlp_deep", "mlp_medium", "mlp_simple"])],
)
def test_choices_may_be_given_as_they_are_typed(typed, names):
    assert [run["model"] for run in combinations(ONE | {"model": typed})] == names


def test_a_list_is_one_value_where_the_settings_own_value_is_a_list():
    assert [run["model.widths"] for run in combinations(ONE | {"model.widths": [8, 9]})] == [[8, 9]]
    assert [run["model.widths"] for run in combinations(ONE | {"model.widths": [[8], [9]]})] == [[8], [9]]
    joined = ONE | {"compress": "ensemble", "compress.teacher": ["mlp_simple", "mlp_deep"]}
    assert [run["compress.teacher"] for run in combinations(joined)] == [["mlp_simple", "mlp_deep"]]
    pruned = {"model": "mlp_simple", "compress": "prune", "compress.sparsity": [0.5, 0.9]}
    assert [run["compress.sparsity"] for run in combinations(pruned)] == [0.5, 0.9]


def test_a_list_in_a_list_is_a_value():
    taught = {"model": "mlp_simple", "compress": "distill", "compress.teacher": ["self", ["self", "cnn_deep"]]}
    assert [run["compress.teacher"] for run in combinations(taught)] == ["self", ["self", "cnn_deep"]]


def test_no_value_is_refused():
    with pytest.raises(BadSetting, match=r"seed=\[\] asks for no run"):
        combinations(ONE | {"seed": range(0)})
