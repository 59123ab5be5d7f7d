"""The command that a chart without rows advises makes just these rows, of what is there."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from tests.conftest import make_row

from kdbench import experiment
from kdbench.cli.advice import missing
from kdbench.cli.main import main
from kdbench.compress.order import split_steps
from kdbench.errors import OutOfMemory
from kdbench.results.row import write

MLP = {"model": "mlp_simple", "architecture": "model.widths=[64]"}
CNN = {"model": "cnn_simple", "architecture": "model.widths=[8,20,24] model.convs=1 model.head=flatten"}
MLP_RECIPE = "train.batch_size=128 train.lr=0.004 train.weight_decay=0.2 train.shift=0"
CNN_RECIPE = "train.batch_size=128 train.lr=0.006 train.weight_decay=0.1 train.shift=2"
SHORT = [
    make_row(**MLP, recipe=f"train.epochs=2 {MLP_RECIPE}"),
    make_row(**CNN, recipe=f"train.epochs=2 {CNN_RECIPE}"),
]


def advised(rows, needed=("baseline", "distill"), folder=Path("outputs")) -> str:
    return missing(rows, needed, folder).rpartition(": run ")[2]


def test_the_command_names_the_models_and_settings_that_are_there():
    expected = "kdbench sweep compress=distill data=mnist model=mlp_simple,cnn_simple train.epochs=2"
    assert advised(SHORT) == expected
    as_usual = [make_row(**MLP, recipe=f"train.epochs=20 {MLP_RECIPE}")]
    assert advised(as_usual) == "kdbench sweep compress=distill data=mnist model=mlp_simple"
    # Networks of other settings need a command of their own: it is that for most of the rows.
    assert advised([*SHORT, *as_usual]) == expected
    seeds = [make_row(**MLP, recipe=f"train.epochs=20 {MLP_RECIPE}", seed=seed) for seed in (2, 0)]
    assert advised(seeds) == "kdbench sweep compress=distill data=mnist model=mlp_simple seed=0,2"
    wide = make_row(**MLP | {"architecture": "model.widths=[8,4]"}, recipe="")
    assert advised([wide]).endswith("model=mlp_simple 'model.widths=[8,4]'")
    given = replace(wide, weights="my net.pt:3fa9c1d2")  # wherever that lies
    assert advised([given]) == "compress=distill with the model, the data and the settings of these rows"


def test_networks_that_one_choice_stands_for_are_traced_to_it():
    theirs = make_row(model="resnet18", architecture="model.name=resnet18")
    assert advised([theirs]).startswith(
        "kdbench sweep compress=distill data=mnist model=torchvision model.name=resnet18 train."
    )


def test_nobody_is_sent_to_a_folder_of_pictures_that_rows_do_not_know():
    said = advised([replace(SHORT[0], dataset="pets")])
    assert said.endswith("with the model, the data and the settings of these rows")


def test_the_reason_is_what_is_missing():
    row = SHORT[0]
    pruned = make_row(**MLP, recipe=row.recipe, compress="prune")
    assert missing([row], (), Path()).startswith("two variants are needed: run kdbench sweep compress=quantize ")
    assert missing([row], ("distill",), Path()).startswith("there is no row of compress=distill: run ")
    assert missing([pruned], ("baseline", "prune"), Path()).startswith("there is no row of compress=baseline: run ")
    both = missing([row, pruned], ("baseline", "prune"), Path())
    assert both.startswith(
        "no two rows are of one network, seed and version: run kdbench sweep compress=baseline,prune"
    )


def test_rows_elsewhere_are_added_to_where_they_lie(tmp_path):
    (tmp_path / "runs").mkdir()
    assert advised(SHORT, folder=tmp_path).endswith(f" outputs={tmp_path}")
    assert "outputs" not in advised(SHORT, folder=tmp_path / "runs")


@pytest.mark.parametrize("change", [{"model": "mine"}, {"dataset": "some-waves"}])
def test_what_was_made_by_choices_of_others_is_told_in_words(change, monkeypatch):
    monkeypatch.setattr("kdbench.cli.advice.data_of", lambda row: None if row.dataset == "some-waves" else "mnist")
    said = missing([make_row(**MLP | change)], ("baseline", "distill"), Path())
    assert said.endswith("run compress=distill with the model, the data and the settings of these rows")


def test_the_command_does_what_it_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(make_row(**MLP, recipe=f"train.epochs=2 {MLP_RECIPE}", dataset="mnist_5k", seed=3), tmp_path)
    done = []
    monkeypatch.setattr(experiment, "run", lambda config, *_, **__: done.append(config) or refuse(config))
    assert main(["plot", "."]) == 0
    [line] = [line for line in capsys.readouterr().err.splitlines() if "distillation_impact" in line]
    assert main(shlex.split(line.rpartition(": run ")[2])[1:]) == 1
    [config] = done
    assert (config.data.name, config.network.name, config.network.recipe.epochs) == ("mnist_5k", "mlp_simple", 2)
    assert (config.compress, config.network.seed) == ("distill", 3)


def refuse(config):
    split_steps(config.network)
    raise OutOfMemory("understood")
