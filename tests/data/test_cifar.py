import hashlib
import io
import os
import pickle
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from tests.data.served import served_at

from kdbench.data import published
from kdbench.data.cifar import CIFAR
from kdbench.data.torchvision_import import torchvision
from kdbench.errors import DamagedFile, DataUnavailable


def pickled(content: object) -> bytes:
    """A pickle as Python 2 and its NumPy wrote it."""
    return pickle.dumps(content, protocol=2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


@pytest.fixture
def batches() -> dict[str, bytes]:
    random = np.random.default_rng(0)
    return {
        name: pickled({"data": random.integers(0, 256, (count, 3072), np.uint8), "labels": list(range(count))})
        for name, count in (("one", 6), ("two", 6), ("last", 4))
    }


@pytest.fixture
def publication(batches) -> CIFAR:
    sums = {name: hashlib.md5(content).hexdigest() for name, content in batches.items()}
    names = tuple("abcdef")
    return CIFAR(
        torchvision_name="TinyCIFAR", class_names=names, batches="tiny", labels="labels", md5=sums, validation=3
    )


@pytest.mark.parametrize("place", ["", "tiny"])
def test_batches_become_images_in_their_order(tmp_path, batches, publication, place):
    (tmp_path / place).mkdir(exist_ok=True)
    for name, content in batches.items():
        (tmp_path / place / name).write_bytes(content)
    splits = published.load(publication, tmp_path, tmp_path / "cache")
    assert splits.shape == (3, 32, 32)
    assert splits.train.labels.tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2]
    assert splits.val.labels.tolist() == [3, 4, 5]
    data = np.random.default_rng(0).integers(0, 256, (6, 3072), np.uint8)
    red = splits.train.images[2, 0]
    assert np.array_equal(red.flatten(), data[2, :1024])  # published a channel at a time, row by row
    assert np.array_equal(splits.train.images[2, 2].flatten(), data[2, 2048:])


class Attack:
    def __reduce__(self):
        return os.system, ("touch attacked",)


def test_nothing_is_unpickled_before_its_sum_is_checked_and_then_only_arrays(
    tmp_path, batches, publication, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name, content in batches.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "two").write_bytes(pickle.dumps({"data": Attack(), "labels": []}))
    with pytest.raises(DamagedFile, match=r"two is truncated or altered \(its MD5"):
        published.load(publication, tmp_path, tmp_path)
    known = hashlib.md5((tmp_path / "two").read_bytes()).hexdigest()  # as if somebody had found a collision
    with pytest.raises(DamagedFile, match="two does not hold a batch of images"):
        published.load(replace(publication, md5=dict(publication.md5) | {"two": known}), tmp_path, tmp_path)
    assert not (tmp_path / "attacked").exists()


def test_what_is_downloaded_is_kept_and_an_archive_of_another_sum_refused(
    tmp_path, batches, publication, monkeypatch
):
    (tmp_path / "served").mkdir()
    archive = tmp_path / "served" / "tiny.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in batches.items():
            member = tarfile.TarInfo(f"tiny/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    sums = [list(pair) for pair in publication.md5.items()]
    with served_at(tmp_path / "served") as address:

        class TinyCIFAR(torchvision.datasets.CIFAR10):
            base_folder = "tiny"
            url = f"{address}tiny.tar.gz"
            filename = "tiny.tar.gz"
            tgz_md5 = hashlib.md5(archive.read_bytes()).hexdigest()
            train_list = sums[:-1]
            test_list = sums[-1:]
            meta = {"filename": "one", "key": "labels", "md5": sums[0][1]}  # noqa: RUF012

        monkeypatch.setattr(torchvision.datasets, "TinyCIFAR", TinyCIFAR, raising=False)
        assert published.load(publication, None, tmp_path / "cache").shape == (3, 32, 32)
        assert [path.name for path in (tmp_path / "cache").iterdir()] == ["tiny"]
        monkeypatch.setattr(TinyCIFAR, "tgz_md5", "0" * 32)
        with pytest.raises(DataUnavailable, match="TinyCIFAR is not on this machine and could not be downloaded"):
            published.load(publication, None, tmp_path / "other")
