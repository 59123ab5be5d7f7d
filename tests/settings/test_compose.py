"""From names that were typed to the whole configuration of a run."""

from pathlib import Path

import hydra
import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict

from kdbench.errors import BadSetting
from kdbench.settings import choices
from kdbench.settings.choices import config_dir
from kdbench.settings.compose import resolve
from kdbench.settings.config import Config, Schema

TEACHERS = {
    "mlp_simple": "mlp_deep",
    "mlp_medium": "mlp_deep",
    "mlp_deep": "resnet_deep",
    "cnn_simple": "cnn_deep",
    "cnn_medium": "cnn_deep",
    "cnn_deep": "resnet_deep",
    "resnet_simple": "resnet_deep",
    "resnet_medium": "resnet_deep",
    "resnet_deep": "resnet_deep",
}


def composed(*overrides: str) -> Config:
    ConfigStore.instance().store(name="schema", node=Schema, provider="kdbench")
    with hydra.initialize_config_dir(str(config_dir()), version_base="1.3"):
        whole = hydra.compose("config", list(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(whole)
        names = dict(whole.hydra.runtime.choices)
        with open_dict(whole):
            del whole["hydra"]
        return resolve(whole, names, list(overrides), [config_dir()])


@pytest.mark.parametrize(("student", "teacher"), TEACHERS.items())
def test_auto_finds_a_teacher_that_is_trained_as_its_own_baseline_is(student, teacher):
    config = composed(f"model={student}", "compress=distill", "seed=3")
    alone = composed(f"model={teacher}", f"seed={4 if student == teacher else 3}")
    assert config.teacher == alone.network


def test_a_network_is_never_its_own_teacher():
    config = composed("model=mlp_simple", "compress=distill", "compress.teacher=mlp_simple", "seed=0")
    assert (config.network.seed, config.teacher.seed) == (0, 1)
    narrowed = composed("model=mlp_simple", "model.widths=[8]", "compress=distill", "compress.teacher=mlp_simple")
    assert (narrowed.network.model["widths"], narrowed.teacher.model["widths"]) == ([8], [64])
    assert narrowed.teacher.seed == narrowed.network.seed


def test_what_is_typed_for_training_holds_for_the_teacher_too():
    config = composed("model=mlp_simple", "compress=distill", "train.epochs=3", "compress.temperature=5")
    assert config.teacher.train.epochs == config.network.train.epochs == 3


def test_a_step_finds_the_knobs_of_its_list_and_no_others():
    config = composed("model=mlp_simple", "compress=distill_quantize", "compress.temperature=5")
    assert config.compress.steps[0]["temperature"] == 5
    for name in ("distill_quantize", "baseline"):
        with pytest.raises(BadSetting, match=r"compress\.sparsity is not a setting"):
            composed(f"compress={name}", "+compress.sparsity=0.5")


def test_the_yaml_files_are_found_in_the_repository_and_in_an_installed_package(tmp_path, monkeypatch):
    package = tmp_path / "src" / "kdbench"
    package.mkdir(parents=True)
    (tmp_path / "conf").mkdir()
    monkeypatch.setattr(choices, "__file__", str(package / "settings" / "choices.py"))
    assert config_dir() == tmp_path / "conf"
    (package / "conf").mkdir()
    assert config_dir() == package / "conf"
    pyproject = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert '"conf" = "kdbench/conf"' in pyproject
