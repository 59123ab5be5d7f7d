import pytest
import torch

from kdbench.data.splits import Split, Splits
from kdbench.errors import DamagedFile


def split(count: int = 10, shape=(3, 6, 5), classes: int = 7, seed: int = 0) -> Split:
    random = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (count, *shape), generator=random, dtype=torch.uint8)
    return Split(images, torch.arange(count) % classes)


def test_splits_say_what_they_hold():
    names = tuple("abcdefg")
    splits = Splits(split(), split(), split(), names)
    assert splits.shape == splits.train.shape == (3, 6, 5)
    assert splits.classes == 7
    assert splits.class_names == names
    assert len(splits.train) == 10


def test_without_names_classes_are_called_by_their_numbers_up_to_the_largest_label_of_any_split():
    splits = Splits(split(classes=3), split(classes=2), split(classes=5))
    assert splits.class_names == ("0", "1", "2", "3", "4")
    assert splits.classes == 5


def test_a_class_may_have_no_image_but_a_label_needs_a_class():
    assert Splits(split(classes=2), split(classes=2), split(classes=2), ("a", "b", "c")).classes == 3
    for place in range(3):
        parts = [split(classes=2), split(classes=2), split(classes=2)]
        parts[place] = split(classes=4)
        with pytest.raises(DamagedFile, match="labels must lie between 0 and 2: 3 does not"):
            Splits(*parts, ("a", "b", "c"))


@pytest.mark.parametrize("shape", [(1, 6, 5), (3, 5, 6), (3, 6, 6)])
@pytest.mark.parametrize("place", [1, 2])
def test_splits_of_several_shapes_are_refused(shape, place):
    parts = [split(), split(), split()]
    parts[place] = split(shape=shape)
    with pytest.raises(DamagedFile, match="several shapes"):
        Splits(*parts)


def test_one_pixel_or_label_changes_the_fingerprint(noise):
    splits = Splits(noise[:30], noise[30:40], noise[40:])
    pixel, label = splits.test.images.clone(), splits.train.labels.clone()
    pixel[0, 0, 0, 0] ^= 1
    label[0] = (label[0] + 1) % 10
    others = [
        Splits(splits.train, splits.val, Split(pixel, splits.test.labels)),
        Splits(Split(splits.train.images, label), splits.val, splits.test),
        Splits(noise[:31], noise[31:40], noise[40:]),
    ]
    assert len({splits.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_the_fingerprint_is_that_of_the_content_and_not_of_how_it_lies_in_memory(noise):
    turned = Split(noise.images.transpose(2, 3).contiguous().transpose(2, 3), noise.labels)
    assert Splits(turned, turned, turned).fingerprint == Splits(noise, noise, noise).fingerprint


@pytest.mark.parametrize("channels", [1, 3])
def test_pixel_statistics_are_those_of_the_training_pixels_a_channel_at_a_time(channels):
    train = split(40, (channels, 9, 7))
    train.images[:, 0] //= 4  # one channel is darker
    means, deviations = Splits(train, split(9, (channels, 9, 7), seed=1), split(9, (channels, 9, 7))).pixel_statistics
    pixels = train.images.double() / 255
    assert means == pytest.approx(pixels.mean(dim=(0, 2, 3)).tolist(), rel=1e-12)
    assert deviations == pytest.approx(pixels.std(dim=(0, 2, 3), correction=0).tolist(), rel=1e-12)
    assert len(means) == len(deviations) == channels


@pytest.mark.parametrize(
    ("images", "labels", "problem"),
    [
        (torch.zeros(2, 1, 28, 28), torch.zeros(2, dtype=torch.int64), "must be uint8"),
        (torch.zeros(2, 28, 28, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), "must be uint8 of shape"),
        (torch.zeros(2, 1, 28, 28, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), "2 images need as many"),
        (torch.zeros(2, 1, 28, 28, dtype=torch.uint8), torch.zeros(2, 1, dtype=torch.int64), "as many int64 labels"),
        (torch.zeros(2, 1, 28, 28, dtype=torch.uint8), torch.zeros(2, dtype=torch.int32), "int64"),
        (torch.zeros(2, 1, 28, 28, dtype=torch.uint8), torch.tensor([0, -1]), "labels count from 0: -1 is none"),
        (torch.zeros(0, 1, 28, 28, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64), "not torch.uint8"),
        (torch.zeros(2, 3, 0, 5, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), "not torch.uint8"),
    ],
)
def test_anything_but_labelled_images_of_grey_levels_is_refused(images, labels, problem):
    with pytest.raises(DamagedFile, match=problem):
        Split(images, labels)


def test_a_split_is_indexed_by_slices_and_by_tensors():
    whole = split()
    chosen = whole[torch.tensor([3, 1])]
    assert torch.equal(chosen.images, whole.images[[3, 1]])
    assert chosen.labels.tolist() == [3, 1]
    assert len(whole[2:5]) == 3
