"""One table makes the defaults, the types, the ranges and the pages."""

import pickle

import pytest
from omegaconf import OmegaConf

from kdbench.errors import BadSetting
from kdbench.settings import schema


def test_what_hydra_checks_against_holds_every_default():
    made = OmegaConf.structured(schema.Schema)
    for setting in schema.SETTINGS:
        if setting.default == schema.BY_MODEL:
            assert OmegaConf.is_missing(made[setting.name.partition(".")[0]], setting.name.partition(".")[2])
        else:
            plain = OmegaConf.to_container(made, resolve=False)
            for part in setting.name.split("."):
                plain = plain[part]
            assert plain == setting.default
    assert pickle.loads(pickle.dumps(made)) == made  # as launchers send it


@pytest.mark.parametrize("setting", [one for one in schema.SETTINGS if one.default != schema.BY_MODEL])
def test_every_default_is_allowed(setting):
    schema.check(setting.name, setting.default)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("train.epochs", -1, "train.epochs=-1 is out of range: it takes a whole number of at least 0"),
        ("train.epochs", None, "train.epochs=None is not a whole number"),
        ("train.shift", 33, "out of range: it takes a whole number from 0 to 32"),
        ("train.lr", 0, r"out of range: it takes a number in \(0, inf\)"),
        ("teacher_train.lr", float("nan"), "teacher_train.lr=nan is not a number"),
        ("seed", True, "seed=True is not a whole number"),
        ("threads", 0, "threads=0 is out of range"),
        ("again", "yes", "again=yes is not true or false"),
        ("weights", 3, "weights=3 is not text"),
        ("device", "gpu", "device=gpu is unknown"),
        ("precision", "fp16", r"precision=fp16 is unknown: did you mean 'bf16'\?"),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(name, value, message):
    with pytest.raises(BadSetting, match=message):
        schema.check(name, value)


def test_null_is_allowed_where_it_is_the_default():
    for name in ("threads", "teacher_train.epochs", "weights"):
        schema.check(name, None)
