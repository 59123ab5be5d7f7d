import gzip
import hashlib
import zipfile
from dataclasses import replace

import pytest
import torch
from tests.data.served import served_at
from tests.data.test_idx import encoded

from kdbench.data import published
from kdbench.data.emnist_letters import EMNIST_LETTERS
from kdbench.data.torchvision_import import torchvision
from kdbench.errors import DamagedFile

COUNTS = {"train": 60, "test": 30}


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(256, (60, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.fixture
def archive(tmp_path, images):
    path = tmp_path / "gzip.zip"
    with zipfile.ZipFile(path, "w") as file:
        for part, count in COUNTS.items():
            labels = torch.arange(count, dtype=torch.uint8) % 26 + 1
            for kind, array in (("images-idx3", images[:count]), ("labels-idx1", labels)):
                file.writestr(f"gzip/emnist-letters-{part}-{kind}-ubyte.gz", gzip.compress(encoded(array)))
    return path


@pytest.fixture
def publication(archive):
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    return replace(EMNIST_LETTERS, torchvision_name="TinyEMNIST", sha256=sha256, validation=8, **COUNTS)


def test_letters_are_upright_and_count_from_a(tmp_path, images, publication):
    splits = published.load(publication, tmp_path, tmp_path / "cache")
    assert torch.equal(splits.train.images[:, 0], images[:52].transpose(1, 2))
    assert splits.class_names[splits.train.labels[0]] == "a"
    assert splits.train.labels.tolist() == [number % 26 for number in range(52)]
    assert (len(splits.val), len(splits.test), splits.classes) == (8, 30, 26)


def test_an_altered_archive_is_never_opened(tmp_path, archive, publication, monkeypatch):
    content = bytearray(archive.read_bytes())
    content[200] ^= 1
    archive.write_bytes(content)
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("opened"))
    with pytest.raises(DamagedFile, match=r"gzip\.zip is truncated or altered \(its SHA-256"):
        published.load(publication, tmp_path, tmp_path / "cache")


def test_an_archive_without_letters_says_so(tmp_path, archive, publication):
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("other", b"")
    other = replace(publication, sha256=hashlib.sha256(archive.read_bytes()).hexdigest())
    with pytest.raises(DamagedFile, match="does not hold what it should"):
        published.load(other, tmp_path, tmp_path / "cache")


def test_the_archive_alone_is_downloaded_and_kept(tmp_path, archive, publication, monkeypatch):
    with served_at(tmp_path) as address:

        class TinyEMNIST(torchvision.datasets.EMNIST):
            url = f"{address}gzip.zip"
            md5 = hashlib.md5(archive.read_bytes()).hexdigest()

        monkeypatch.setattr(torchvision.datasets, "TinyEMNIST", TinyEMNIST, raising=False)
        assert published.load(publication, None, tmp_path / "cache").classes == 26
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert kept == [tmp_path / "cache" / "TinyEMNIST" / "raw" / "gzip.zip"]
