import pytest
import torch

from kdbench.data.splits import Split, Splits
from kdbench.errors import DamagedFile


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


def test_pixel_statistics_are_those_of_the_training_pixels(noise):
    mean, deviation = Splits(noise[:30], noise[30:40], noise[40:]).pixel_statistics
    pixels = noise.images[:30].double() / 255
    assert mean == pytest.approx(float(pixels.mean()), rel=1e-12)
    assert deviation == pytest.approx(float(pixels.std(correction=0)), rel=1e-12)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (torch.zeros(2, 1, 28, 28), torch.zeros(2, dtype=torch.int64)),
        (torch.zeros(2, 28, 28, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)),
        (torch.zeros(2, 1, 28, 28, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64)),
        (torch.zeros(2, 1, 28, 28, dtype=torch.uint8), torch.full((2,), 10)),
        (torch.zeros(0, 1, 28, 28, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64)),
    ],
)
def test_anything_but_labelled_grey_images_is_refused(images, labels):
    with pytest.raises(DamagedFile):
        Split(images, labels)
