import gzip
import hashlib
import socket
import time
from dataclasses import replace

import pytest
import torch
from tests.data.served import served_at
from tests.data.test_idx import encoded

from kdbench.data import cifar10, cifar100, download, emnist_letters, fashion_mnist, kmnist, mnist, published
from kdbench.data.idx import LikeMNIST
from kdbench.data.torchvision_import import torchvision
from kdbench.errors import DamagedFile, DataUnavailable

COUNTS = {"train": 40, "t10k": 20}


@pytest.fixture
def files() -> dict[str, bytes]:
    """Four IDX files of a small data set, by name, not gzipped."""
    random = torch.Generator().manual_seed(0)
    made = {}
    for part, count in COUNTS.items():
        images = torch.randint(256, (count, 28, 28), generator=random, dtype=torch.uint8)
        made[f"{part}-images-idx3-ubyte"] = encoded(images)
        made[f"{part}-labels-idx1-ubyte"] = encoded(torch.arange(count, dtype=torch.uint8) % 10)
    return made


def sums_of(files: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


@pytest.fixture
def publication(files) -> LikeMNIST:
    digits = tuple("0123456789")
    return LikeMNIST(
        torchvision_name="TinyMNIST", class_names=digits, sha256=sums_of(files), train=40, test=20, validation=8
    )


def test_files_are_found_plain_gzipped_and_where_torchvision_puts_them(tmp_path, publication):
    name = next(iter(publication.files))
    assert publication.find(tmp_path) == {}
    raw = tmp_path / "TinyMNIST" / "raw"
    raw.mkdir(parents=True)
    for path in (raw / f"{name}.gz", raw / name, tmp_path / f"{name}.gz", tmp_path / name):
        path.touch()
        assert publication.find(tmp_path) == {name: path}


def test_a_folder_that_is_typed_and_lacks_a_file_is_an_error_whatever_the_cache_holds(tmp_path, files, publication):
    cache, mine = tmp_path / "cache", tmp_path / "mine"
    cache.mkdir()
    for name, content in files.items():
        (cache / name).write_bytes(content)
    with pytest.raises(DataUnavailable, match=r"mine does not exist, and so does not hold TinyMNIST: train-images"):
        published.load(publication, mine, cache)
    mine.mkdir()
    for name in publication.files[:3]:
        (mine / name).write_bytes(files[name])
    expected = r"TinyMNIST: t10k-labels-idx1-ubyte \(plain, or \.gz\) should be in it, or in TinyMNIST/raw under it"
    with pytest.raises(DataUnavailable, match=expected):
        published.load(publication, mine, cache)
    assert len(published.load(publication, None, cache).train) == 32


def test_places_of_the_system_are_looked_at_before_the_cache_and_after_what_is_typed(tmp_path, files, publication):
    system, mine = tmp_path / "system", tmp_path / "mine"
    for place in (system, mine):
        place.mkdir()
        for name, content in files.items():
            (place / name).write_bytes(content)
    found = replace(publication, places=(tmp_path / "none", system))
    assert len(published.load(found, None, tmp_path / "cache").train) == 32
    (system / "t10k-labels-idx1-ubyte").write_bytes(b"altered")
    with pytest.raises(DamagedFile, match="system/t10k-labels"):
        published.load(found, None, tmp_path / "cache")
    assert len(published.load(found, mine, tmp_path / "cache").train) == 32
    assert not (tmp_path / "cache").exists()


def test_debians_fashion_mnist_is_looked_for():
    assert [str(place) for place in fashion_mnist.FASHION_MNIST.places] == ["/usr/share/datasets/fashion-mnist"]


@pytest.mark.parametrize("level", [1, 9])
def test_files_that_were_gzipped_again_are_known_by_what_they_hold(tmp_path, files, publication, level):
    for name, content in files.items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content, level, mtime=level))
    assert len(published.load(publication, tmp_path, tmp_path).train) == 32


def test_the_last_training_images_are_the_validation_split(tmp_path, files, publication):
    for name, content in files.items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    splits = published.load(publication, tmp_path, tmp_path / "unused")
    assert (len(splits.train), len(splits.val), len(splits.test)) == (32, 8, 20)
    assert splits.val.labels.tolist() == [number % 10 for number in range(32, 40)]
    assert not (tmp_path / "unused").exists()


def test_an_altered_file_is_an_error_and_not_a_reason_to_look_elsewhere(tmp_path, files, publication):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(files["t10k-labels-idx1-ubyte"][:-1] + b"\x01")
    with pytest.raises(DamagedFile, match="t10k-labels"):
        published.load(publication, tmp_path, tmp_path / "cache")


def test_where_only_the_gzipped_files_have_sums_only_those_are_read(tmp_path, files, publication):
    packed = {name: gzip.compress(content, mtime=0) for name, content in files.items()}
    zipped = replace(publication, sha256=sums_of(packed), packed=True)
    for name, content in files.items():
        (tmp_path / name).write_bytes(bytes(len(content)))  # as torchvision leaves them beside; never looked at
    with pytest.raises(DamagedFile, match="put the original train-images-idx3-ubyte"):
        published.load(zipped, tmp_path, tmp_path / "cache")
    for name, content in packed.items():
        (tmp_path / f"{name}.gz").write_bytes(content)
    assert published.load(zipped, tmp_path, tmp_path / "cache").val.labels.tolist() == list(range(2, 10))
    altered = files["t10k-images-idx3-ubyte"][:-1] + b"\x01"
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(altered, mtime=0))
    with pytest.raises(DamagedFile, match="is truncated or altered"):
        published.load(zipped, tmp_path, tmp_path / "cache")


def test_labels_out_of_range_are_noticed_whatever_was_published(tmp_path, files, publication):
    labels = "train-labels-idx1-ubyte"
    files[labels] = files[labels][:-1] + b"\x0a"
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DamagedFile, match="labels"):
        published.load(replace(publication, sha256=sums_of(files)), tmp_path, tmp_path / "cache")


def test_two_data_sets_under_one_root_are_not_mistaken_for_each_other(tmp_path, files, publication):
    """Both publications name their four files alike, and torchvision puts them side by side."""
    others = {name: content[:-1] + bytes([content[-1] ^ ("images" in name)]) for name, content in files.items()}
    other = replace(publication, torchvision_name="TinyFashion", sha256=sums_of(others))
    for folder, contents in (("TinyMNIST", files), ("TinyFashion", others)):
        raw = tmp_path / folder / "raw"
        raw.mkdir(parents=True)
        for name, content in contents.items():
            (raw / name).write_bytes(content)
    first, second = (published.load(which, tmp_path, tmp_path / "cache") for which in (publication, other))
    assert first.fingerprint != second.fingerprint


def test_files_of_a_namesake_are_refused(tmp_path, files, publication):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    namesakes = frozenset(publication.sha256.values())
    other = replace(publication, torchvision_name="TinyFashion", namesakes=namesakes)
    with pytest.raises(DamagedFile, match="belongs to another data set"):
        published.load(other, tmp_path, tmp_path / "cache")


def test_fashion_mnist_refuses_the_files_of_mnist():
    assert fashion_mnist.FASHION_MNIST.namesakes == set(mnist.MNIST.sha256.values())


@pytest.fixture
def served(tmp_path, files, monkeypatch):
    """A data set of torchvision's kind whose mirror is a server on loopback."""
    folder = tmp_path / "served"
    folder.mkdir()
    resources = []
    for name, content in files.items():
        packed = gzip.compress(content)
        (folder / f"{name}.gz").write_bytes(packed)
        resources.append((f"{name}.gz", hashlib.md5(packed).hexdigest()))

    with served_at(folder) as address:

        class TinyMNIST(torchvision.datasets.MNIST):
            mirrors = [address]  # noqa: RUF012

        TinyMNIST.resources = resources
        monkeypatch.setattr(torchvision.datasets, "TinyMNIST", TinyMNIST, raising=False)
        yield folder


def test_what_is_downloaded_is_kept_in_the_cache(tmp_path, publication, served):
    cache = tmp_path / "cache"
    first = published.load(publication, None, cache)
    for path in served.iterdir():
        path.unlink()
    assert published.load(publication, None, cache).fingerprint == first.fingerprint
    assert [path.name for path in cache.iterdir()] == ["TinyMNIST"]  # and nothing of the draft


def test_a_download_that_is_not_the_published_data_is_refused(tmp_path, publication, served):
    (served / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"something else"))
    with pytest.raises(DataUnavailable, match="TinyMNIST"):
        published.load(publication, None, tmp_path / "cache")


def test_a_silent_server_does_not_hang(tmp_path, publication, served, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        monkeypatch.setattr(torchvision.datasets.TinyMNIST, "mirrors", [address])
        monkeypatch.setattr(download, "CONNECT_SECONDS", 0.2)
        start = time.monotonic()
        with pytest.raises(DataUnavailable):
            published.load(publication, None, tmp_path / "cache")
        assert time.monotonic() - start < 5
    assert socket.getdefaulttimeout() is None


def test_torchvision_is_usable_whatever_torch_it_was_built_for():
    assert torchvision.datasets.MNIST.resources


LOADERS = {
    mnist: ("MNIST", "MNIST/raw", 4, 10),
    fashion_mnist: ("FashionMNIST", "FashionMNIST/raw", 4, 10),
    kmnist: ("KMNIST", "KMNIST/raw", 4, 10),
    cifar10: ("CIFAR10", "cifar-10-batches-py", 6, 10),
    cifar100: ("CIFAR100", "cifar-100-python", 2, 100),
    emnist_letters: ("EMNIST", "EMNIST/raw", 1, 26),
}


@pytest.mark.parametrize("loader", LOADERS)
def test_each_loader_reads_its_own_publication(loader, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(published, "load", lambda *given: asked.append(given))
    loader.load(tmp_path, tmp_path / "cache")
    [(publication, *folders)] = asked
    name, place, files, classes = LOADERS[loader]
    assert (publication.torchvision_name, publication.folder) == (name, place)
    assert (len(publication.files), len(set(publication.class_names))) == (files, classes)
    assert folders == [tmp_path, tmp_path / "cache"]
    assert hasattr(torchvision.datasets, name)


@pytest.mark.parametrize("publication", [cifar10.CIFAR10, cifar100.CIFAR100])
def test_the_sums_of_cifar_are_those_that_torchvision_publishes(publication):
    dataset = getattr(torchvision.datasets, publication.torchvision_name)
    assert list(publication.md5.items()) == [tuple(pair) for pair in dataset.train_list + dataset.test_list]
    assert publication.folder == dataset.base_folder


def test_splits_carry_the_shape_and_the_names_of_the_classes(tmp_path, files, publication):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    names = fashion_mnist.FASHION_MNIST.class_names
    splits = published.load(replace(publication, class_names=names), tmp_path, tmp_path / "cache")
    assert splits.shape == (1, 28, 28)
    assert splits.classes == 10
    assert splits.class_names[9] == "Ankle boot"
