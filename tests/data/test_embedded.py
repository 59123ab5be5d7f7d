import torch


def test_every_class_is_split_alike(digits):
    for split, each in ((digits.train, 350), (digits.val, 50), (digits.test, 100)):
        assert torch.bincount(split.labels).tolist() == [each] * 10


def test_no_image_is_in_two_splits(digits):
    images = [split.images.flatten(1) for split in (digits.train, digits.val, digits.test)]
    together = torch.cat(images)
    assert len(torch.unique(together, dim=0)) == len(together) == 5000


def test_the_split_never_changes(digits):
    assert digits.fingerprint == "002e06c3862df47d"
