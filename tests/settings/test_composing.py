"""Compositions are made once, and anew when a file changes."""

import hydra
import pytest

from kdbench.settings import composing
from kdbench.settings.choices import config_dir
from kdbench.settings.search_path import searched


@pytest.fixture
def asked(monkeypatch):
    """What Hydra was asked to compose."""
    found = []
    compose = hydra.compose

    def counted(name, overrides):
        found.append(overrides)
        return compose(name, overrides)

    monkeypatch.setattr(hydra, "compose", counted)
    monkeypatch.setattr(composing, "KNOWN", {})
    return found


def test_the_same_is_composed_once_and_nobody_changes_what_another_has(asked):
    folders = [config_dir()]
    with searched(folders):
        first = composing.compose(["model=mlp_simple"], folders)
        first.seed = 7
        again = composing.compose(["model=mlp_simple"], folders)
        composing.compose(["model=mlp_deep"], folders)
    assert again.seed == 0
    assert asked == [["model=mlp_simple"], ["model=mlp_deep"]]


def test_a_file_deeper_in_a_group_is_looked_at_too(asked, tmp_path):
    part = tmp_path / "compress" / "parts" / "amount.yaml"
    part.parent.mkdir(parents=True)
    (tmp_path / "compress" / "mine.yaml").write_text("defaults: [parts/amount@_here_, _self_]\n")
    folders, found = [tmp_path, config_dir()], []
    for content in ("sparsity: 0.3\n", "sparsity: 0.75\n"):
        part.write_text(content)
        with searched(folders):
            found.append(composing.compose(["compress=mine"], folders).compress.sparsity)
    assert found == [0.3, 0.75]


def test_a_changed_file_and_a_new_one_are_read(asked, tmp_path):
    mine = tmp_path / "model" / "mine.yaml"
    mine.parent.mkdir()
    folders = [tmp_path, config_dir()]
    widths = []
    for content in ("[4]", "[4, 4]"):
        mine.write_text(f"defaults: [cnn_simple]\nwidths: {content}\n")
        with searched(folders):
            widths.append(list(composing.compose(["model=mine"], folders).model.widths))
    assert widths == [[4], [4, 4]]
    with searched(folders):
        composing.compose(["model=mine"], folders)
        (tmp_path / "compress").mkdir()
        (tmp_path / "compress" / "other.yaml").write_text("defaults: [baseline]\n")
        composing.compose(["model=mine"], folders)
    assert len(asked) == 3
