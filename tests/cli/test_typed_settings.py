"""Settings as typed, on their way to Hydra."""

from pathlib import Path

import pytest

from kdbench.cli.overrides import for_hydra, parsed
from kdbench.errors import BadSetting
from kdbench.settings.choices import EVERYTHING, config_dir, options
from kdbench.settings.knobs import chosen_options

OURS = [f"{family}_{size}" for family in ("cnn", "mlp", "resnet") for size in ("deep", "medium", "simple")]


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("cnn_deep,mlp_deep", ["cnn_deep", "mlp_deep"]),
        ("glob(mlp_*)", ["mlp_deep", "mlp_medium", "mlp_simple"]),
        ("glob('mlp_d*'),cnn_deep", ["mlp_deep", "cnn_deep"]),
        ("glob([*_deep,mlp_*])", ["cnn_deep", "mlp_deep", "mlp_medium", "mlp_simple", "resnet_deep"]),
        (EVERYTHING["model"], OURS),
        ("nothing", []),
    ],
)
def test_choices_are_read_off_what_was_typed_as_hydra_reads_them(typed, names):
    assert chosen_options("model", {"model": typed}, list(options("model", [config_dir()]))) == names


@pytest.mark.parametrize(
    ("typed", "handed_over"),
    [
        ("weights_except=fc,aux1", "weights_except='fc,aux1'"),
        ("weights_except='fc,aux1'", "weights_except='fc,aux1'"),
        ("normalise=0.5,0.5,0.5/0.2,0.2,0.2", "normalise='0.5,0.5,0.5/0.2,0.2,0.2'"),
        ("normalise=data,imagenet", "normalise=data,imagenet"),
        ("compress.teacher=~/a", f"compress.teacher='{Path.home()}/a'"),
        ("compress.teacher=[~/a,cnn_deep]", f"compress.teacher=[{Path.home()}/a,cnn_deep]"),
        ("compress.teacher={model:x,weights:~/a.pt}", f"compress.teacher={{model:x,weights:{Path.home()}/a.pt}}"),
        ("compress.teacher=[cnn_deep,mlp_deep]", "compress.teacher=[cnn_deep,mlp_deep]"),
    ],
)
def test_commas_of_one_value_and_the_home_folder_are_what_they_look_like(typed, handed_over):
    assert str(parsed(typed)) == handed_over


@pytest.mark.parametrize("model", ["torchvision", "python"])
def test_an_argument_that_a_yaml_for_many_does_not_name_is_added(model):
    with pytest.raises(
        BadSetting, match=rf"model\.width stands in no YAML: if model={model} takes it, type \+model\.width=VALUE"
    ):
        for_hydra([f"model={model}", "model.width=3"])
    assert for_hydra([f"model={model}", "+model.width=3"]) == [f"model={model}", "+model.width=3"]
    with pytest.raises(BadSetting, match=r"model\.widht is not a setting: did you mean"):
        for_hydra(["model=cnn_deep", "model.widht=3"])
