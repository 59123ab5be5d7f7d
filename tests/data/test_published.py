import functools
import gzip
import hashlib
import http.server
import socket
import threading
import time
from dataclasses import replace

import pytest
import torch
from tests.data.test_idx import encoded

from kdbench.data import fashion_mnist, mnist, published
from kdbench.data.published import Publication
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
def publication(files) -> Publication:
    return Publication("TinyMNIST", sums_of(files), train=40, test=20, validation=8)


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

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    class TinyMNIST(torchvision.datasets.MNIST):
        mirrors = [f"http://127.0.0.1:{server.server_address[1]}/"]  # noqa: RUF012

    TinyMNIST.resources = resources
    monkeypatch.setattr(torchvision.datasets, "TinyMNIST", TinyMNIST, raising=False)
    yield folder
    server.shutdown()
    server.server_close()


def test_what_is_downloaded_is_kept_in_the_cache(tmp_path, publication, served):
    cache = tmp_path / "cache"
    first = published.load(publication, tmp_path / "nothing here", cache)
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
        monkeypatch.setattr(published, "CONNECT_SECONDS", 0.2)
        start = time.monotonic()
        with pytest.raises(DataUnavailable):
            published.load(publication, None, tmp_path / "cache")
        assert time.monotonic() - start < 5
    assert socket.getdefaulttimeout() is None


def test_torchvision_is_usable_whatever_torch_it_was_built_for():
    assert torchvision.datasets.MNIST.resources


@pytest.mark.parametrize("loader", [mnist, fashion_mnist])
def test_each_loader_reads_its_own_publication(loader, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(published, "load", lambda *given: asked.append(given))
    loader.load(tmp_path, tmp_path / "cache")
    [(publication, *folders)] = asked
    assert publication.torchvision_name == {mnist: "MNIST", fashion_mnist: "FashionMNIST"}[loader]
    assert folders == [tmp_path, tmp_path / "cache"]
    assert hasattr(torchvision.datasets, publication.torchvision_name)
    assert len(publication.sha256) == 4


def test_splits_carry_the_shape_and_the_names_of_the_classes(tmp_path, files, publication):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    names = fashion_mnist.FASHION_MNIST.class_names
    splits = published.load(replace(publication, class_names=names), tmp_path, tmp_path / "cache")
    assert splits.shape == (1, 28, 28)
    assert splits.classes == 10
    assert splits.class_names[9] == "Ankle boot"
