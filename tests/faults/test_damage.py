"""Whatever happens to bytes on a disk: it is noticed, or it changes nothing. Never a wrong number or a traceback."""

import contextlib
import gzip
import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from tests.conftest import make_row
from torch import nn

from kdbench.artifact.export import export
from kdbench.artifact.file import Artifact
from kdbench.artifact.session import session
from kdbench.cli.status import state
from kdbench.data import idx
from kdbench.errors import DamagedFile
from kdbench.models.onnx_graph import load
from kdbench.results.ledger import LastTry, Ledger
from kdbench.results.row import FILE, as_csv, read
from kdbench.results.run_folder import ARTIFACT, CONFIG, HISTORY, read_whole
from kdbench.storage.checksums import SUMS, checksum, sums
from kdbench.storage.store import RECORD, TENSORS, Store
from kdbench.training.checkpoint import Checkpoint, Cost, Saved, decode, encode
from kdbench.training.spent import Spent

many = settings(
    max_examples=400, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
few = settings(many, max_examples=150)


@st.composite
def damages(draw):
    """A function that damages bytes: cut off, altered, inserted, zeroed, doubled."""
    kind = draw(st.sampled_from(["cut", "alter", "insert", "zero", "double", "empty", "rubbish"]))
    where = draw(st.floats(0, 1, exclude_max=True))
    extra = draw(st.binary(min_size=1, max_size=40))

    def damage(content: bytes) -> bytes:
        at = int(where * len(content))
        return {
            "cut": content[:at],
            "alter": content[:at] + bytes([content[at] ^ (extra[0] or 1)]) + content[at + 1 :],
            "insert": content[:at] + extra + content[at:],
            "zero": content[:at] + bytes(min(512, len(content) - at)) + content[at + 512 :],
            "double": content + content[at:],
            "empty": b"",
            "rubbish": extra,
        }[kind]

    return damage


IMAGES = np.arange(5 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(5, 28, 28)
PLAIN = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in IMAGES.shape) + IMAGES.tobytes()


@pytest.mark.parametrize("ending", ["", ".gz"])
@many
@given(damage=damages())
def test_data(tmp_path, ending, damage):
    path = tmp_path / f"images{ending}"
    path.write_bytes(damage(gzip.compress(PLAIN) if ending else PLAIN))
    with contextlib.suppress(DamagedFile):
        assert np.array_equal(idx.read(path, IMAGES.shape, hashlib.sha256(PLAIN).hexdigest()), IMAGES)


def put(folder, files):
    """Write `files` as they are, without the flushing of the real thing: hundreds of times."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def with_sums(files):
    return files | {SUMS: sums(files)}


ROW = with_sums({FILE: as_csv(make_row())})


@pytest.mark.parametrize("name", ROW)
@few
@given(damage=damages())
def test_rows(tmp_path, name, damage):
    put(tmp_path / "run", ROW | {name: damage(ROW[name])})
    with contextlib.suppress(DamagedFile):
        assert read(tmp_path / "run" / FILE) == make_row()


RUN = with_sums(
    {
        ARTIFACT: b"onnx",
        HISTORY: b"epoch,seconds\n1,2.5\n",
        CONFIG: b"seed: 0\n",
        FILE: as_csv(make_row(artifact_sha256=checksum(b"onnx"))),
    }
)


@pytest.mark.parametrize("name", RUN)
@settings(many, max_examples=60)
@given(damage=damages())
def test_run_folders(tmp_path, name, damage):
    damaged = RUN | {name: damage(RUN[name])}
    put(tmp_path / "run", damaged)
    if name == SUMS or damaged == RUN:
        with contextlib.suppress(DamagedFile):
            assert read_whole(tmp_path / "run").artifact_sha256 == checksum(b"onnx")
    else:
        with pytest.raises(DamagedFile) as error:
            read_whole(tmp_path / "run")
        assert error.value.path == tmp_path / "run" / name  # which is set aside


COST = Cost(Spent(3.0, 5.0), {"teacher": Spent(0.5, 0.5)}, 2)
SAVED = Saved({"a": torch.arange(30.0)}, {"step": 3, "lr": 0.1})
CHECKPOINT = with_sums({"7.safetensors": encode("key", COST, [SAVED])})


@pytest.mark.parametrize("name", CHECKPOINT)
@few
@given(damage=damages())
def test_checkpoints(tmp_path, name, damage):
    shutil.rmtree(tmp_path)
    put(tmp_path / "key", CHECKPOINT | {name: damage(CHECKPOINT[name])})
    checkpoint = Checkpoint(tmp_path / "key", 0)
    found = checkpoint.begin()
    if found is None:
        assert (tmp_path / "key.damaged-1" / name).exists()
    else:
        assert (found.record, checkpoint.cost) == (SAVED.record, COST)
        assert torch.equal(found.tensors["a"], SAVED.tensors["a"])


@many
@given(damage=damages())
def test_checkpoints_whose_checksum_is_that_of_the_damage(damage):
    with contextlib.suppress(DamagedFile):  # and nothing else is raised
        cost, fits = decode("key", damage(CHECKPOINT["7.safetensors"]))
        assert isinstance(cost, Cost)
        assert all(type(fit.record["step"]) is int for fit in fits)


def entry_files():
    tensors = save({"weight": torch.arange(6.0).view(2, 3)})
    return with_sums({TENSORS: tensors, RECORD: json.dumps({"seconds": 2.5, "key": "key"}).encode()})


ENTRY = entry_files()


@pytest.mark.parametrize("name", ENTRY)
@few
@given(damage=damages())
def test_the_store(tmp_path, name, damage):
    shutil.rmtree(tmp_path)
    put(tmp_path / "key", ENTRY | {name: damage(ENTRY[name])})
    found = Store(tmp_path).get("key")
    if found is None:
        assert (tmp_path / "key.damaged-1" / name).exists()
    else:
        assert found.record["seconds"] == 2.5
        assert torch.equal(found.tensors["weight"], torch.arange(6.0).view(2, 3))


@pytest.mark.parametrize("name", [TENSORS, RECORD])
@few
@given(damage=damages())
def test_an_entry_whose_checksums_are_those_of_the_damage(tmp_path, name, damage):
    shutil.rmtree(tmp_path)
    files = {file: content for file, content in ENTRY.items() if file != SUMS}
    put(tmp_path / "key", with_sums(files | {name: damage(files[name])}))
    found = Store(tmp_path).get("key")
    assert found is None or found.record["key"] == "key"


@few
@given(damage=damages())
def test_the_ledger(tmp_path, damage):
    ledger = Ledger(tmp_path)
    ledger.started(["model=a"], tmp_path / "runs" / "a")
    path = next((tmp_path / "ledger" / "runs").iterdir())
    path.write_bytes(damage(path.read_bytes()))
    assert state(ledger, ["model=a"]).name in ("missing", "failed")  # never done: there is no row
    ledger.started(["model=a"], tmp_path / "runs" / "a")
    assert ledger.last_try(["model=a"]) == LastTry("runs/a")


@pytest.fixture(scope="module")
def onnx_file():
    torch.manual_seed(0)
    return Artifact(export(nn.Sequential(nn.Flatten(), nn.Linear(48, 7)).eval(), (3, 4, 4))).content


@settings(many, max_examples=500)
@given(damage=damages())
def test_onnx_files_are_refused_or_run(onnx_file, damage):
    """A run folder's file is checked by its sum first; this is what happens to a file whose sum nobody knows."""
    try:
        file = load(damage(onnx_file))
    except DamagedFile:
        return
    assert {opset.domain for opset in file.opset_import} <= {"", "ai.onnx"}
    # What ONNX Runtime makes of it is an exception of Python's or logits; verify reports the former in one line.
    with contextlib.suppress(Exception):
        logits = session(file.SerializeToString(), 1)(np.zeros((2, 3, 4, 4), np.float32))
        assert isinstance(logits, np.ndarray)
