"""The settings of a run as Python has them: the same run, and the same errors, as on the command line."""

import sys
from pathlib import Path

import hydra
import numpy as np
import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra

from kdbench import experiment
from kdbench.cli.main import main
from kdbench.errors import BadSetting, OutOfMemory
from kdbench.settings import own_folder
from kdbench.settings.typed import config_of, flattened


@pytest.fixture
def on_the_command_line(monkeypatch, capsys):
    """Return a function that gives the configuration that a command line comes to, or what it says is wrong."""

    def understood(*typed: str):
        found = []

        def run(config, *_):
            found.append(config)
            raise OutOfMemory("understood")

        monkeypatch.setattr(experiment, "run", run)
        assert main(["run", *typed]) == 1
        err = capsys.readouterr().err
        return found[0] if found else err.removeprefix("error: ").strip()

    return understood


ALIKE = [
    (
        [
            "model=mlp_deep",
            "seed=3",
            "train=mlp",
            "train.epochs=2",
            "train.lr=0.5",
            "model.widths=[1,2]",
            "again=true",
        ],
        {
            **{
                "model": "mlp_deep",
                "seed": np.int64(3),
                "train": "mlp",
                "train.epochs": 2,
                "train.lr": np.float32(0.5),
            },
            **{"model.widths": (1, 2), "again": True},
        },
    ),
    (
        ["compress=distill", "compress.teacher=[{model:cnn_deep,seed:1},self]", "compress.teacher_weights=[2,1]"],
        {
            "compress": "distill",
            "compress.teacher": [{"model": "cnn_deep", "seed": 1}, "self"],
            "compress.teacher_weights": range(2, 0, -1),
        },
    ),
    (
        ["outputs='a b,c=d'", "data.root='/x y/[1]'", "data.fallback=null", "threads=null", "+model.depth=3"],
        {
            **{"outputs": Path("a b,c=d"), "data": {"root": Path("/x y/[1]"), "fallback": None}, "threads": None},
            **{"+model.depth": 3},
        },
    ),
    (["+experiment=speedrun", "seed=1"], {"experiment": "speedrun", "seed": 1}),
]


@pytest.mark.parametrize(("typed", "settings"), ALIKE, ids=[" ".join(typed) for typed, _ in ALIKE])
def test_settings_come_to_what_they_come_to_on_the_command_line(
    typed, settings, on_the_command_line, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert config_of(flattened(settings)) == on_the_command_line(*typed)


@pytest.mark.parametrize(
    ("typed", "settings"),
    [
        ("model=cnn_dep", {"model": "cnn_dep"}),
        ("modle=cnn_deep", {"modle": "cnn_deep"}),
        ("train.epoch=3", {"train": {"epoch": 3}}),
        ("compress.sparsity=0.5", {"compress": {"sparsity": 0.5}}),
        ("train.epochs=many", {"train": {"epochs": "many"}}),
        ("train.epochs=-1", {"train": {"epochs": -1}}),
        ("seed=x", {"seed": "x"}),
        ("threads=0", {"threads": 0}),
        ("data.fallback=minst", {"data.fallback": "minst"}),
        ("+train.foo=1", {"+train.foo": 1}),
    ],
)
def test_what_is_refused_there_is_refused_here_in_the_same_words(typed, settings, on_the_command_line):
    with pytest.raises(BadSetting) as refused:
        config_of(flattened(settings))
    assert str(refused.value) == on_the_command_line(typed)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": ["mlp_simple", "cnn_deep"]}, "is several values: kdbench.sweep makes a run for each"),
        ({"train": {"epochs": 1}, "train.epochs": 2}, "train.epochs is given twice"),
        ({"seed": object()}, "seed is a object: give a number"),
        ({"train.epochs": True}, "train.epochs=True is not a whole number"),
        ({"train": {"lr": float("nan")}}, "train.lr=nan is not a number"),
        ({"model": None}, "model=None is unknown"),
        ({"outputs": ""}, "outputs= names no folder"),
        ({"hydra.job.name": "x"}, "hydra.job.name is not a setting"),
        ({"data.view": "edges"}, "data.view is not a setting: did you mean view?"),
    ],
)
def test_what_cannot_be_is_one_line(settings, message):
    with pytest.raises(BadSetting, match=message) as refused:
        config_of(flattened(settings))
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    "path", ["it's", 'a "b"', "back\\slash\\", "\\'", "a,b=c", "[x]", "{y}", "%", " ", "ü", "~x"]
)
def test_any_path_may_be_given(path, tmp_path):
    config = config_of({"outputs": str(tmp_path / path), "data.root": str(tmp_path / path)})
    assert config.outputs == config.data.root == tmp_path / path
    assert config.fallback.cache == tmp_path / path / "data"


def test_choices_and_code_of_ones_own_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(own_folder, "_folder", None)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thin.yaml").write_text("# Thin.\n_target_: thin_model.Thin\ndepth: 2\n")
    config = config_of(
        {"model": "thin", "model.depth": 3, "compress": "distill", "compress.teacher": "thin"}, tmp_path
    )
    assert config.network.model == {"_target_": "thin_model.Thin", "depth": 3}
    assert config.teachers[0].model["depth"] == 2
    assert str(tmp_path) in sys.path
    with pytest.raises(BadSetting, match="nowhere: there is no such folder"):
        config_of({}, tmp_path / "nowhere")


def test_what_a_program_has_set_up_of_hydra_is_put_back(tmp_path):
    (tmp_path / "config.yaml").write_text("theirs: 1\n")
    stored = ConfigStore.instance()
    with hydra.initialize_config_dir(str(tmp_path), version_base="1.2"):
        stored.store(name="schema", node={"theirs": 2})
        before = GlobalHydra.instance(), hydra.version.getbase()
        config_of({"seed": 1})
        with pytest.raises(BadSetting):
            config_of({"seed": -1})
        assert (GlobalHydra.instance(), hydra.version.getbase()) == before
        assert hydra.compose("config").theirs == 1
        assert hydra.compose("schema").theirs == 2
    config_of({"seed": 1})
    assert not GlobalHydra.instance().is_initialized()
