"""A model, a method and a data set of one's own: one Python file and one YAML each, outside the package."""

import re
import sys
from pathlib import Path

import pytest

from kdbench import targets
from kdbench.cli import main
from kdbench.results.collect import collect

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


def test_an_edited_method_is_not_served_the_weights_of_the_old_one(mine, monkeypatch):
    monkeypatch.syspath_prepend(mine / "mine")
    monkeypatch.delitem(sys.modules, "method_binarize", raising=False)
    node = {"_target_": "method_binarize.Binarize"}
    before = targets.identity(node)
    file = mine / "mine" / "method_binarize.py"
    file.write_text("# a comment changes nothing\n" + file.read_text())
    targets._code.cache_clear()
    assert targets.identity(node) == before
    file.write_text(file.read_text() + "\nEDITED = True\n")
    targets._code.cache_clear()
    assert targets.identity(node) != before
