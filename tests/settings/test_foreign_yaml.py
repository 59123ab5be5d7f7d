"""What stands in the YAML files of others is read, or refused in one line; nothing is waited for."""

import os

from kdbench.cli.main import main
from kdbench.settings import foreign_yaml

# 30 lines that stand for 10^29 nodes.
BOMB = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30))


def refused(capsys, *arguments):
    status = main(["run", "data=mnist_5k", *arguments])
    err = capsys.readouterr().err
    assert status == 1
    assert len(err.strip().splitlines()) == 1, err
    return err


def test_a_pipe_is_not_waited_for(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine" / "model").mkdir(parents=True)
    os.mkfifo(tmp_path / "mine" / "model" / "evil.yaml")
    assert "evil.yaml is not a file" in refused(capsys, "--config-dir", "mine", "model=evil")


def test_aliases_that_stand_for_little_may_be_used():
    assert not foreign_yaml.inflated("a: &a [1, 2]\nb: *a\nc: *a\n")
    assert not foreign_yaml.inflated("")


def test_what_others_list_is_listed_or_refused_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mine" / "model" / "odd.yaml"
    file.parent.mkdir(parents=True)
    for text in ("[1]", BOMB, "a: \x01", "3"):
        file.write_text(text)
        assert main(["ls", "--config-dir", "mine"]) == 1
        assert capsys.readouterr().err.startswith("error: mine/model/odd.yaml is not plain YAML")
    file.write_text("_target_: kdbench.models.mlp.MLP\nwidths: [9999999, 9999999]\n")  # 400 TB, if they were made
    assert main(["ls", "--config-dir", "mine"]) == 0
    assert "100,007,939,999,215" in capsys.readouterr().out


def test_a_link_hides_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "elsewhere" / "evil.yaml").write_text("# @package hydra.callbacks.evil\n_target_: os.abort\n")
    (tmp_path / "mine" / "experiment").symlink_to("../elsewhere")
    (tmp_path / "elsewhere" / "round").symlink_to(".")
    assert "configures Hydra" in refused(capsys, "--config-dir", "mine", "+experiment=evil")
