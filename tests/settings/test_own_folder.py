"""A folder typed as --config-dir is the permission to run the Python in it, and in it alone."""

import importlib
import os
import sys

import pytest

from kdbench.cli.main import main
from kdbench.errors import BadSetting
from kdbench.settings import own_folder, targets


@pytest.fixture(autouse=True)
def none_yet(monkeypatch, tmp_path):
    monkeypatch.setattr(own_folder, "_folder", None)
    monkeypatch.chdir(tmp_path)
    modules = set(sys.modules)
    yield
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def refused(capsys, *arguments):
    status = main(["run", "data=mnist_5k", *arguments])
    err = capsys.readouterr().err
    assert status == 1
    assert len(err.strip().splitlines()) == 1, err
    return err


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    "path",
    [
        *("os.system", "builtins.eval", "subprocess.run", "collections.OrderedDict", "__main__.main", "", "x", ".x"),
        *("tests.settings.test_own_folder.put", "kdbenchx.models.a.B", "sys.exit", "nothing_at_all.X"),
        # Of kdbench, but nothing that a configuration should call.
        *("kdbench.cli.main.main", "kdbench.storage.durable.write", "kdbench.models", "kdbench.models."),
        # Only imported there.
        *(
            "kdbench.models.mlp.nn.Linear",
            "kdbench.compress.distill.soft_targets.dataclass",
            "kdbench.data.mnist.idx",
        ),
    ],
)
@pytest.mark.parametrize("served", [False, True])
def test_only_models_steps_and_data_sets_of_kdbench_can_be_named_besides(tmp_path, path, served):
    if served:
        put(tmp_path / "mine" / "model_a.py", "A = dict\n")
        own_folder.serve(tmp_path / "mine")
    with pytest.raises(BadSetting, match="_target_"):
        targets.locate(path)


def test_what_kdbench_ships_can_be_named():
    for path in (
        "kdbench.models.cnn.CNN",
        "kdbench.compress.prune.global_magnitude.GlobalMagnitude",
        "kdbench.data.mnist.load",
    ):
        assert targets.locate(path).__name__ == path.rpartition(".")[2]


def test_modules_and_packages_of_the_folder_can_be_named_and_nothing_below_it(tmp_path):
    put(tmp_path / "mine" / "model_a.py", "class A: ...\n")
    put(tmp_path / "mine" / "package_b" / "__init__.py", "")
    put(tmp_path / "mine" / "package_b" / "models.py", "class B: ...\n")
    put(tmp_path / "mine" / ".venv" / "lib" / "model_c.py", "raise SystemExit('executed')")
    own_folder.serve(tmp_path / "mine")
    assert targets.locate("model_a.A").__name__ == "A"
    assert targets.locate("package_b.models.B").__name__ == "B"
    sys.path.append(str(tmp_path / "mine" / ".venv" / "lib"))
    with pytest.raises(BadSetting, match=r"not part of kdbench, nor a file in .*mine"):
        targets.locate("model_c.C")


def test_a_file_of_the_name_of_an_installed_module_hides_nothing_and_is_reported(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    put(tmp_path / "mine" / "colorsys.py", "raise SystemExit('executed')")
    own_folder.serve(tmp_path / "mine")
    assert importlib.import_module("colorsys").__file__ != str(tmp_path / "mine" / "colorsys.py")
    with pytest.raises(BadSetting, match=r"has a colorsys too: give the one in .*mine another name"):
        targets.locate("colorsys.X")


def test_another_folder_takes_the_place_of_the_one_before(tmp_path):
    for name in ("a", "b"):
        put(tmp_path / name / f"model_{name}.py", "X = dict\n")
        own_folder.serve(tmp_path / name)
    assert targets.locate("model_b.X")
    with pytest.raises(BadSetting):
        targets.locate("model_a.X")


@pytest.mark.parametrize("setting", ["model", "compress", "data"])
def test_a_choice_in_it_that_names_other_code_is_refused(tmp_path, capsys, setting):
    touched = tmp_path / "touched"
    put(tmp_path / "mine" / setting / "evil.yaml", f"_target_: pathlib.Path.touch\nself: {touched}\n")
    for flag in (["--config-dir", "mine"], ["--config-dir=mine"], ["-cd=mine"], ["--config-d", "mine"]):
        assert "_target_: pathlib.Path.touch is not part of kdbench, nor a file in" in refused(
            capsys, *flag, f"{setting}=evil"
        )
        assert not touched.exists()
    assert main(["ls", "--config-dir", "mine"]) == (1 if setting == "model" else 0)


@pytest.mark.parametrize("text", ["[1]", "a: \x01", "3", "_target_: ''\n", "widths: [1]\n"])
def test_a_choice_that_is_none_is_one_line(tmp_path, capsys, text):
    put(tmp_path / "mine" / "model" / "odd.yaml", text)
    refused(capsys, "--config-dir", "mine", "model=odd")
    assert main(["ls", "--config-dir", "mine"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1


def test_a_size_that_no_memory_holds_is_listed(tmp_path, capsys):
    put(tmp_path / "mine" / "model" / "huge.yaml", "_target_: kdbench.models.mlp.MLP\nwidths: [9999999, 9999999]\n")
    assert main(["ls", "--config-dir", "mine"]) == 0
    assert "100,007,939,999,215" in capsys.readouterr().out


def test_a_pipe_is_not_waited_for(tmp_path, capsys):
    (tmp_path / "mine" / "model").mkdir(parents=True)
    os.mkfifo(tmp_path / "mine" / "model" / "pipe.yaml")
    assert main(["ls", "--config-dir", "mine"]) == 1
    assert "pipe.yaml is not the YAML file of a choice (not a file)" in capsys.readouterr().err


def test_another_primary_configuration_is_refused(capsys):
    for typed in (["--config-path", "mine"], ["--config-name=mine"], ["--experimental-rerun", "a.pickle"]):
        assert "--config-dir adds choices" in refused(capsys, *typed)
    assert "--config-dir adds choices" in refused(capsys, "hydra.searchpath=[file://mine]")


@pytest.mark.parametrize("name", ["../../escape", "a/b", ".hidden", "-dash", "=formula", "a b", "a\nb"])
def test_names_of_choices_stay_names(name, make_config):
    from dataclasses import replace

    config = make_config()
    with pytest.raises(BadSetting, match="a name begins with"):
        replace(config, network=replace(config.network, name=name))


def test_a_folder_in_it_of_a_setting_s_name_is_no_choice(tmp_path, capsys):
    (tmp_path / "mine" / "outputs").mkdir(parents=True)
    assert "holds a folder outputs, which is a setting too" in refused(capsys, "--config-dir", "mine", "outputs=here")
