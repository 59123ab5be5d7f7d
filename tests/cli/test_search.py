"""Settings chosen by Optuna: the command."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from tests.conftest import make_row

from kdbench.cli import search, values
from kdbench.cli.main import main
from kdbench.errors import BadSetting
from kdbench.results.collect import by_folder

TINY = """
# A test.
settings: {data: mnist_5k, model: mlp_simple, model.widths: [16], threads: 1, train.epochs: 1}
against: {compress: smooth_labels}
objectives: {val_accuracy: maximise, size_bytes: minimise}
limits: {size_bytes: 40000}
sampler: nsga2
trials: 4
seeds: 2
space:
  train.lr: {from: 0.001, to: 0.1, log: true}
  compress: [baseline, quantize]
"""


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """One search, called tiny."""
    from kdbench.settings.choices import options

    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY.lstrip())
    monkeypatch.setattr(
        "kdbench.settings.choices.options",
        lambda group, folders: {"tiny": tmp_path / "tiny.yaml"} if group == "search" else options(group, folders),
    )


def test_the_best_are_trained_anew_and_only_those_tested(tiny, capsys):
    assert main(["search", "tiny", "--seeds", "1"]) == 0
    out = capsys.readouterr().out
    assert "-nsga2: 0 of 4 trials are done" in out
    assert "-random: 0 of 4 trials are done" in out
    (table,) = Path("outputs/search").glob("tiny-*/trials_nsga2.csv")
    trials = pd.read_csv(table)
    assert list(trials.columns) == ["trial", "train.lr", "compress", "val_accuracy", "size_bytes", "why"]
    large = trials.why.notna()
    assert set(trials.compress[~large]) <= {"quantize"}
    assert trials.why[large].str.contains("size_bytes is 5").all()
    rows, _ = by_folder(Path("outputs"))
    assert {row.seed for row in rows.values()} == {100}
    assert "by hand: kdbench run data=mnist_5k" in out
    assert "test errors under 1 fresh seed, mean" in out
    main(["search", "tiny", "--seeds", "0"])
    assert "-nsga2: 4 of 4 trials are done" in capsys.readouterr().out


def test_list_says_what_there_is(capsys):
    assert main(["search", "--list"]) == 0
    assert "distillation  (30 trials)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["destillation"], "there is no search called destillation: did you mean 'distillation'?"),
        (["distillation", "--trials", "0"], "--trials 0 is too few: type --trials 30"),
        (["distillation", "--seeds", "-1"], "--seeds -1 is too few: type --seeds 5"),
        (["distillation", "compress=prune"], "compress is what the search itself chooses: leave compress= out"),
        (["distillation", "seed=3"], "seed is what the search itself chooses: leave seed= out"),
        (["distillation", "modl=mlp_simple"], "modl"),
        (["distillation", "objective=ece"], "objective is what the search itself chooses"),
        (["distillation", "model=glob(mlp*)"], "is several values: type one"),
        (["distillation", "threads=1,2"], "threads=1,2 is several values: type one"),
        (["distillation", "data=fashion_mnist", "data.root=nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_searched_is_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["search", *arguments]) == 1
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("cnn_deep", "cnn_deep"),
        ("2", "2"),
        ("1.10", "'1.10'"),
        ("a b", "'a b'"),
        ([4, 8], "[4,8]"),
        ({"model": "x", "seed": 1}, "{model:x,seed:1}"),
        (None, "null"),
        (0.5, "0.5"),
    ],
)
def test_settings_are_written_as_they_can_be_typed(value, text):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    assert values.in_hydra(value) == text
    assert str(OverridesParser.create().parse_override(f"a={text}").value()) == str(value)


def test_of_seeds_that_failed_nothing_is_compared():
    from kdbench.cli.search_results import comparison
    from kdbench.search.plan import read
    from kdbench.settings.choices import config_dir, options

    plan = read("distillation", options("search", [config_dir()])["distillation"])
    whole = [make_row(seed=seed, errors=60 + seed % 3) for seed in range(100, 105)]
    lines = comparison(plan, {"by hand": whole, "tpe": [replace(row, errors=row.errors - 9) for row in whole]})
    assert "lower (p" in lines[2] or "the same difference in all 5 seeds" in lines[2]
    lines = comparison(plan, {"by hand": whole, "tpe": whole[:3], "random": whole})
    assert lines[2].endswith("not compared: 2 of 5 seeds failed")
    assert "no difference" in lines[3] or "the same difference" in lines[3]


def test_the_search_chooses_its_own(tmp_path):
    from kdbench.search.plan import read
    from kdbench.settings.choices import config_dir, options

    plan = read("student", options("search", [config_dir()])["student"])
    with pytest.raises(BadSetting, match=r"model\.widths is what the search itself chooses"):
        search.typed(plan, ["model.widths=[3]"])
    assert search.typed(plan, ["compress.teacher={model:cnn_deep}"]) == {"compress.teacher": {"model": "cnn_deep"}}
