"""Nothing foreign is executed."""

import importlib
import sys

import pytest
from tests.settings.test_foreign_yaml import BOMB, refused

from kdbench.errors import BadSetting
from kdbench.settings import targets, trust


@pytest.fixture(autouse=True)
def nobody(monkeypatch):
    monkeypatch.delenv(trust.VARIABLE, raising=False)
    trust.grant([])


@pytest.mark.parametrize(
    "path",
    [
        *(
            "os.system",
            "builtins.eval",
            "subprocess.run",
            "tests.settings.test_trust.nobody",
            "kdbenchx.models.a.B",
            "",
            "x",
        ),
        # Of kdbench, but nothing that a configuration should call.
        *(
            "kdbench.cli.main.main",
            "kdbench.storage.durable.write",
            "kdbench.storage.locks.held",
            "kdbench.models",
            "kdbench.models.",
        ),
        # Only imported there.
        *(
            "kdbench.models.mlp.nn.Linear",
            "kdbench.compress.distill.soft_targets.dataclass",
            "kdbench.models.network.instantiate",
        ),
        "kdbench.data.mnist.idx",
    ],
)
def test_only_models_steps_and_data_sets_of_kdbench_can_be_named(path):
    with pytest.raises(BadSetting, match="_target_"):
        targets.locate(path)


def test_what_kdbench_ships_can_be_named():
    for path in (
        "kdbench.models.cnn.CNN",
        "kdbench.compress.prune.global_magnitude.GlobalMagnitude",
        "kdbench.data.mnist.load_mnist",
    ):
        assert targets.locate(path).__name__ == path.rpartition(".")[2]


def test_a_package_can_be_trusted_by_name(monkeypatch):
    trust.grant(["collections"])
    assert targets.locate("collections.OrderedDict")
    with pytest.raises(BadSetting):
        targets.locate("os.system")
    trust.grant([])
    monkeypatch.setenv(trust.VARIABLE, "fractions, collections")
    assert targets.locate("collections.OrderedDict")


EVIL = "{_target_: pathlib.Path.touch, self: %s}"


@pytest.mark.parametrize(
    ("path", "text", "arguments"),
    [
        ("model/evil.yaml", "_target_: pathlib.Path.touch\nself: %s\n", ["model=evil"]),
        ("compress/evil.yaml", "_target_: pathlib.Path.touch\nself: %s\n", ["compress=evil"]),
        ("compress/evil.yaml", "steps: [{_target_: pathlib.Path.touch, self: %s}]\n", ["compress=evil"]),
        ("data/evil.yaml", "_target_: pathlib.Path.touch\nself: %s\nroot: null\ncache: null\n", ["data=evil"]),
        (
            "experiment/evil.yaml",
            f"# @package _global_\nhydra: {{callbacks: {{evil: {EVIL}}}}}\n",
            ["+experiment=evil"],
        ),
        ("experiment/evil.yaml", f"# @package hydra.callbacks.evil\n{EVIL[1:-1]}\n", ["+experiment=evil"]),
        ("experiment/evil.yaml", "defaults: [/data@hydra.callbacks: evil]\n# %s", ["+experiment=evil"]),
        ("hydra/launcher/evil.yaml", "_target_: pathlib.Path.touch\nself: %s\n", ["hydra/launcher=evil", "-m"]),
        ("config.yaml", f"hydra: {{callbacks: {{evil: {EVIL}}}}}\n", []),
        ("experiment/evil.yaml", "# @package _global_\ntrust: [pathlib]\n# %s", ["+experiment=evil"]),
        # What omegaconf's loader reads, and yaml.safe_load does not.
        (
            "experiment/evil.yaml",
            "# @package _global_\nhydra: {callbacks: {evil: {_target_: pathlib.Path.touch, "
            "self: !!python/object/apply:pathlib.Path [%s]}}}\n",
            ["+experiment=evil"],
        ),
        ("train/evil.yaml", f"hydra: {{callbacks: {{evil: {EVIL}}}}}\n", ["train=evil"]),
        ("model/evil.yaml", "[_target_, %s]\n", ["model=evil"]),
        ("model/evil.yaml", "_target_: %s\x01\n", ["model=evil"]),
        ("model/evil.yaml", "_target_: ''\n", ["model=evil"]),
        ("model/evil.yaml", "&a [*a]\n", ["model=evil"]),
        ("model/evil.yaml", BOMB, ["model=evil"]),
    ],
)
def test_yaml_from_elsewhere_runs_nothing(tmp_path, monkeypatch, capsys, path, text, arguments):
    monkeypatch.chdir(tmp_path)
    touched = tmp_path / "touched"
    file = tmp_path / "mine" / path
    file.parent.mkdir(parents=True)
    file.write_text(text.replace("%s", str(touched)))
    for flag in (["--config-dir", "mine"], ["--config-dir=mine"], ["-cd=mine"], ["--config-d", "mine"]):
        err = refused(capsys, *flag, *arguments)
        assert not touched.exists()
        assert "_target_" in err or "configures Hydra" in err or "it can only be typed" in err


def test_a_folder_of_choices_serves_no_code_that_was_not_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine" / "model").mkdir(parents=True)
    for name in ("torch", "colorsys", "wanted"):
        (tmp_path / "mine" / f"{name}.py").write_text("raise SystemExit('executed')")
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    trust.serve(str(tmp_path / "mine"))
    assert importlib.import_module("colorsys").__file__ != str(tmp_path / "mine" / "colorsys.py")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("wanted")
    trust.grant(["wanted"])
    with pytest.raises(SystemExit, match="executed"):
        importlib.import_module("wanted")


def test_another_primary_configuration_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for typed in (["--config-path", "mine"], ["--config-name=mine"], ["--experimental-rerun", "a.pickle"]):
        assert "--config-dir adds choices" in refused(capsys, *typed)
    assert "--config-dir adds choices" in refused(capsys, "hydra.searchpath=[file://mine]")


@pytest.mark.parametrize("name", ["../../escape", "a/b", ".hidden", "-dash", "=formula", "a b", "a\nb"])
def test_names_of_choices_stay_names(tmp_path, monkeypatch, capsys, name, make_config):
    from dataclasses import replace

    config = make_config()
    with pytest.raises(BadSetting, match="a name begins with"):
        replace(config, network=replace(config.network, name=name))


@pytest.mark.parametrize("typed", ["trust=1", "trust=[a-b]", "trust=[[a]]", "trust={a:1}", "trust=os.path"])
def test_what_is_no_package_cannot_be_trusted(tmp_path, monkeypatch, capsys, typed):
    monkeypatch.chdir(tmp_path)
    assert "is not a list of Python packages" in refused(capsys, typed)
