import pytest

from kdbench.errors import BadSetting
from kdbench.settings.normalisation import looks_like_numbers, statistics


@pytest.mark.parametrize(
    ("typed", "means", "deviations"),
    [
        ("none", (0,), (1,)),
        ("imagenet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("0.5/0.25", (0.5,), (0.25,)),
        ("0.5,0.4,0/.2,1e-1,3", (0.5, 0.4, 0), (0.2, 0.1, 3)),
    ],
)
def test_what_is_typed_stands_for_means_and_deviations(typed, means, deviations):
    assert statistics(typed) == (means, deviations)


def test_by_default_the_data_decide():
    assert statistics("data") is None


@pytest.mark.parametrize(
    "typed", ["", "cifar", "0.5", "0.5/0", "0.5/-1", "0.5,0.5/1", "1/2/3", "nan/1", "0/inf", "0.5,/1,", "/", "a/b"]
)
def test_anything_else_is_refused_in_one_line(typed):
    with pytest.raises(BadSetting, match="is none of data, imagenet, none and MEANS/DEVIATIONS such as") as error:
        statistics(typed)
    assert "\n" not in str(error.value)


def test_values_of_a_multirun_are_not_taken_for_numbers():
    assert looks_like_numbers("0.5,0.5,0.5/0.2,0.2,0.2")
    assert not any(map(looks_like_numbers, ["data,imagenet", "0.5/0.2,0.4/0.3", "imagenet", "'0.5/0.2'"]))
