"""What a student learns from, as it is typed."""

import pytest
from tests.settings.test_compose import composed

from kdbench.errors import BadSetting
from kdbench.settings.choices import config_dir, options
from kdbench.settings.network import plain


def transfer_of(typed):
    [step] = composed("compress=distill", f"compress.transfer={typed}").network.steps
    return step.transfer


@pytest.mark.parametrize("name", options("transfer", [config_dir()]))
def test_what_is_made_of_the_training_set_is_found_by_its_name(name):
    assert transfer_of(name).name == name


def test_its_knobs_are_typed_beside_its_name():
    assert transfer_of("{data:munge,images:7,swap:0.1}").loader == {
        "_target_": "kdbench.data.pseudo.munge",
        "images": 7,
        "swap": 0.1,
        "spread": 1,
        "seed": 0,
    }


def test_of_a_list_all_are_learnt_from():
    joined = transfer_of("[train,{data:munge,images:7},mnist_5k]")
    assert joined.name == "train+munge+mnist_5k"
    assert joined.loader["parts"][1] == plain(transfer_of("{data:munge,images:7}"))


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("mung", r"compress\.transfer=mung is unknown: did you mean 'munge'\?"),
        ("[]", "names no data"),
        ("{data:munge,image:7}", "image is not a setting of munge: did you mean 'images'"),
    ],
)
def test_what_cannot_be_is_one_line(typed, message):
    with pytest.raises(BadSetting, match=message):
        transfer_of(typed)
