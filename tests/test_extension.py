"""A model, a method and a data set of one's own: one Python file and one YAML each, outside the package."""

import re
import sys
from pathlib import Path

import pytest

from kdbench.cli.main import main
from kdbench.results.collect import collect
from kdbench.settings import own_folder, targets

README = Path(__file__).parents[1] / "README.md"


def files_in_readme() -> dict[str, str]:
    """The whole files that the README shows, by the path that stands above each block."""
    return dict(re.findall(r"^`(mine/\S+)`:\n\n```(?:python|yaml)\n(.*?)^```", README.read_text(), re.S | re.M))


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path, content in files_in_readme().items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    for name in ("model_logistic", "method_binarize", "data_stripes"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def test_the_readme_shows_one_of_each():
    assert set(files_in_readme()) == {
        "mine/model_logistic.py",
        "mine/model/logistic.yaml",
        "mine/method_binarize.py",
        "mine/compress/binarize.yaml",
        "mine/data_stripes.py",
        "mine/data/stripes.yaml",
    }


def test_they_run_together_and_with_what_is_there(mine, capsys):
    arguments = ["--config-dir", "mine", "train.epochs=1"]
    assert main(["run", *arguments, "model=logistic", "compress=binarize", "data=stripes"]) == 0
    assert (
        main(
            ["run", *arguments, "model=logistic", "compress=distill", "compress.teacher=mlp_simple", "data=mnist_5k"]
        )
        == 0
    )
    assert main(["run", *arguments, "model=mlp_simple", "compress=binarize", "data=mnist_5k"]) == 0
    rows, damaged = collect(Path("outputs"))
    assert not damaged
    assert {(row.dataset, row.model, row.compress) for row in rows} == {
        ("stripes", "logistic", "binarize"),
        ("mnist_5k", "logistic", "distill"),
        ("mnist_5k", "mlp_simple", "binarize"),
    }
    capsys.readouterr()
    assert main(["ls", "--config-dir", "mine"]) == 0
    out = capsys.readouterr().out
    for said in ("One linear layer under dropout.", "Every weight becomes plus or minus", "stripes at ten angles"):
        assert said in out


def test_a_run_of_them_is_verified_with_the_folder_that_holds_their_code(mine, monkeypatch, capsys):
    own = ["model=logistic", "compress=binarize", "data=stripes"]
    assert main(["run", "--config-dir", "mine", "train.epochs=1", *own]) == 0
    [folder] = Path("outputs/runs/stripes").iterdir()
    monkeypatch.setattr(own_folder, "_folder", None)
    for name in ("model_logistic", "method_binarize", "data_stripes"):
        monkeypatch.delitem(sys.modules, name)
    capsys.readouterr()
    assert main(["verify", str(folder)]) == 1
    assert "--config-dir DIR names the folder of its Python file" in capsys.readouterr().err
    assert main(["verify", str(folder), "--config-dir", "mine"]) == 0
    assert capsys.readouterr().out.startswith("verified: ")


def test_the_root_of_a_data_set_of_ones_own_can_be_typed(mine):
    assert "root:" not in (mine / "mine" / "data" / "stripes.yaml").read_text()
    arguments = ["--config-dir", "mine", "model=mlp_simple", "data=stripes", "data.noise=0.2", "data.root=/nothing"]
    assert main(["run", *arguments, "train.epochs=1"]) == 0


def test_they_take_part_in_a_sweep(mine):
    typed = "--config-dir mine model=logistic,mlp_simple compress=baseline,binarize data=mnist_5k"
    assert f"kdbench sweep {typed}\n" in README.read_text()
    assert main(["sweep", *typed.split(), "train.epochs=1"]) == 0
    rows, _ = collect(Path("outputs"))
    assert {(row.model, row.compress) for row in rows} == {
        (model, compress) for model in ("logistic", "mlp_simple") for compress in ("baseline", "binarize")
    }


def test_an_experiment_sets_what_it_names_and_never_the_size_of_a_teacher(mine, capsys):
    assert main(["run", "+experiment=smoke", "model=mlp_simple"]) == 0
    assert [row.dataset for row in collect(Path("outputs"))[0]] == ["mnist_5k"]
    (mine / "mine" / "experiment").mkdir()
    (mine / "mine" / "experiment" / "wide.yaml").write_text("# @package _global_\nmodel:\n  widths: [32]\n")
    arguments = ["run", "--config-dir", "mine", "+experiment=wide", "data=mnist_5k", "model=mlp_simple"]
    assert main([*arguments, "compress=distill"]) == 1
    assert "experiment=wide sets model.*" in capsys.readouterr().err


def test_a_yaml_that_names_no_python_is_refused_in_one_line(mine, capsys):
    (mine / "mine" / "model" / "empty.yaml").write_text("# Nothing.\nwidth: 3\n")
    for arguments in (["ls", "--config-dir", "mine"], ["run", "--config-dir", "mine", "model=empty"]):
        assert main(arguments) == 1
        err = capsys.readouterr().err
        assert "its YAML needs a _target_" in err
        assert len(err.splitlines()) == 1


def test_an_edited_method_is_not_served_the_weights_of_the_old_one(mine, monkeypatch):
    own_folder.serve(mine / "mine")
    node = {"_target_": "method_binarize.Binarize"}
    before = targets.identity(node)
    file = mine / "mine" / "method_binarize.py"
    file.write_text("# a comment changes nothing\n" + file.read_text())
    targets._code.cache_clear()
    assert targets.identity(node) == before
    file.write_text(file.read_text() + "\nEDITED = True\n")
    targets._code.cache_clear()
    assert targets.identity(node) != before
