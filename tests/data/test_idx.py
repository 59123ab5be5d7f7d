import gzip
import hashlib

import pytest
import torch

from kdbench.data import idx
from kdbench.errors import DamagedFile


def encoded(array: torch.Tensor) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.numpy().tobytes()


@pytest.fixture
def array() -> torch.Tensor:
    return torch.arange(5 * 4 * 3, dtype=torch.uint8).reshape(5, 4, 3)


@pytest.mark.parametrize("packed", [False, True])
def test_an_array_comes_back_as_it_was_written(tmp_path, array, packed):
    content = encoded(array)
    path = tmp_path / ("a.gz" if packed else "a")
    path.write_bytes(gzip.compress(content) if packed else content)
    assert torch.equal(idx.read(path, (5, 4, 3), hashlib.sha256(content).hexdigest()), array)
    assert torch.equal(idx.read(path, (5, 4, 3), hashlib.sha256(path.read_bytes()).hexdigest(), True), array)


@pytest.mark.parametrize("packed", [False, True])
def test_every_truncation_is_noticed_and_names_the_file(tmp_path, array, packed):
    content = encoded(array)
    sha256 = hashlib.sha256(content).hexdigest()
    whole = gzip.compress(content) if packed else content
    path = tmp_path / ("a.gz" if packed else "a")
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedFile, match=str(path)):
            idx.read(path, (5, 4, 3), sha256)


def test_one_altered_byte_is_noticed_by_the_checksum(tmp_path, array):
    content = bytearray(encoded(array))
    sha256 = hashlib.sha256(content).hexdigest()
    content[-1] ^= 1
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(DamagedFile, match="SHA-256"):
        idx.read(path, (5, 4, 3), sha256)
