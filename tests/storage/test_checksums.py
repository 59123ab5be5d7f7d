import shutil
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdbench.errors import DamagedFile
from kdbench.storage import checksums
from kdbench.storage.checksums import SUMS

NAMES = st.text("abcXYZ019_-.", min_size=1, max_size=12).filter(lambda name: name.strip(".-") == name)
FILES = {"model.onnx": b"\x00onnx\xff", "history.csv": b"epoch\n", "empty": b""}


@pytest.fixture
def folder(tmp_path):
    for name, content in (FILES | {SUMS: checksums.sums(FILES)}).items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


@given(st.dictionaries(NAMES, st.binary(max_size=40), min_size=1))
def test_what_is_written_is_read_back(files):
    assert checksums.parse(checksums.sums(files)) == {name: checksums.checksum(c) for name, c in files.items()}


def test_what_was_written_is_what_is_read(folder):
    assert checksums.read(folder, list(FILES)) == FILES


def test_a_known_checksum():
    assert checksums.checksum("abc").startswith("ba7816bf8f01cfea414140de5dae2223")
    assert checksums.checksum(b"abc") == checksums.checksum("abc")


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="there is no sha256sum here")
def test_sha256sum_accepts_what_is_written_and_nothing_else(folder):
    def check() -> int:
        return subprocess.run(["sha256sum", "--check", "--strict", "--quiet", SUMS], cwd=folder).returncode

    assert check() == 0
    (folder / "history.csv").write_bytes(b"epoch")
    assert check() != 0


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="there is no sha256sum here")
def test_what_sha256sum_writes_is_read(folder):
    written = subprocess.run(["sha256sum", *FILES], cwd=folder, capture_output=True, check=True).stdout
    (folder / SUMS).write_bytes(written)
    assert checksums.read(folder, list(FILES)) == FILES


@pytest.mark.parametrize("name", ["model.onnx", "history.csv", SUMS])
def test_every_flipped_bit_is_noticed_and_the_file_named(folder, name):
    whole = (folder / name).read_bytes()
    for position in range(len(whole)):
        for bit in (1, 32, 128):
            damaged = bytearray(whole)
            damaged[position] ^= bit
            (folder / name).write_bytes(damaged)
            with pytest.raises(DamagedFile) as error:
                checksums.read(folder, list(FILES))
            # A flipped checksum, or name, cannot be distinguished from a file that was altered.
            assert name == SUMS or error.value.path == folder / name


@pytest.mark.parametrize("name", [*FILES, SUMS])
def test_what_is_missing_cut_or_emptied_is_noticed(folder, name):
    whole = (folder / name).read_bytes()
    contents = [whole[:-1], b""] if whole else [b"\0"]
    for content in contents:
        (folder / name).write_bytes(content)
        with pytest.raises(DamagedFile):
            checksums.read(folder, list(FILES))
    (folder / name).unlink()
    with pytest.raises(DamagedFile, match="is missing") as error:
        checksums.read(folder, list(FILES))
    assert error.value.path == folder / name


def test_a_file_without_a_checksum_is_refused(folder):
    (folder / "stray").write_bytes(b"")
    with pytest.raises(DamagedFile, match="its checksum is not the one in SHA256SUMS"):
        checksums.read(folder, ["stray"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_rubbish_holds_no_checksums(content):
    with pytest.raises(DamagedFile, match="does not hold checksums"):
        checksums.parse(content)
