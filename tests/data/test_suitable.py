from dataclasses import replace

import pytest
import torch
from tests.conftest import distill, mlp

from kdbench.data import suitable
from kdbench.data.splits import Split, Splits
from kdbench.errors import BadSetting


def splits(shape=(1, 8, 8), classes: int = 2, labels: int | None = None) -> Splits:
    """Data of `classes` classes, of which the first `labels` have training images."""
    count = labels or classes
    train = Split(torch.zeros(count, *shape, dtype=torch.uint8), torch.arange(count))
    return Splits(train, train, train, tuple(f"c{number}" for number in range(classes)))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 64, 64), (1, 8, 64)])
@pytest.mark.parametrize("classes", [2, 1000])
def test_sizes_channels_and_classes_up_to_the_ends_of_their_ranges_are_possible(shape, classes):
    assert suitable.require("mine", splits(shape, classes)) is None  # it raises nothing


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (splits((1, 7, 8)), "data=mine has images of 7x8: sizes from 8x8 to 64x64 are possible"),
        (splits((3, 64, 65)), "64x65"),
        (splits((2, 8, 8)), "images of 2 channels: 1 (grey) and 3 (colour) are possible"),
        (splits(classes=1), "data=mine has one class: 2 to 1,000 are possible"),
        (splits(classes=1001), "1,001 classes"),
        (splits(classes=4, labels=3), "no training images of class c3: leave them out"),
        (splits(classes=9, labels=2), "no training images of classes c2, c3, c4 and 4 more"),
    ],
)
def test_what_no_run_can_be_about_is_one_line(data, reason):
    with pytest.raises(BadSetting) as error:
        suitable.require("mine", data)
    assert reason in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_batch_that_is_larger_than_the_training_set_says_what_to_type():
    network = mlp(0, distill(mlp(1, batch_size=100), mlp(2, batch_size=200)), batch_size=80)
    suitable.require_batches(200, network)
    with pytest.raises(BadSetting, match=r"^teacher_train\.batch_size=200: .* type teacher_train\.batch_size=32$"):
        suitable.require_batches(199, network)
    with pytest.raises(BadSetting, match=r"type train\.batch_size=19 teacher_train\.batch_size=19$"):
        suitable.require_batches(79, network)
    suitable.require_batches(79, replace(mlp(batch_size=80, epochs=0), weights="FILE"))  # it is not trained


def test_a_teacher_that_is_the_network_itself_follows_its_recipe():
    with pytest.raises(BadSetting, match=r"type train\.batch_size=10$"):
        suitable.require_batches(40, mlp(0, distill(mlp(0))))
