"""Whatever happens to bytes on a disk: it is noticed, or it changes nothing. Never a wrong number or a traceback."""

import contextlib
import gzip
import hashlib

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import make_row
from torch import nn

from kdbench.artifact.export import export
from kdbench.artifact.file import Artifact, load
from kdbench.artifact.session import session
from kdbench.cli.status import state
from kdbench.data import idx
from kdbench.errors import DamagedFile
from kdbench.results.ledger import LastTry, Ledger
from kdbench.results.row import FILE, read, write
from kdbench.storage.checksums import seal, unseal
from kdbench.storage.store import RECORD, TENSORS, Store, Training
from kdbench.training.checkpoint import Account, Saved, decode, encode

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


@many
@given(damage=damages())
def test_rows(tmp_path, damage):
    write(make_row(), tmp_path)
    path = tmp_path / FILE
    path.write_bytes(damage(path.read_bytes()))
    with contextlib.suppress(DamagedFile):
        assert read(path) == make_row()


CHECKPOINT = encode(Account(3.0), [Saved({"a": torch.arange(30.0)}, {"step": 3, "lr": 0.1})])


@many
@given(damage=damages())
def test_checkpoints(damage):
    with contextlib.suppress(DamagedFile):
        assert unseal("key", damage(seal("key", CHECKPOINT))) == CHECKPOINT
    with contextlib.suppress(DamagedFile):
        decode(damage(CHECKPOINT))  # were the seal that of the damage itself


@pytest.mark.parametrize("name", [TENSORS, RECORD])
@few
@given(damage=damages())
def test_the_store(tmp_path_factory, name, damage):
    store = Store(tmp_path_factory.mktemp("store"))
    kept, found = nn.Linear(3, 2), nn.Linear(3, 2)
    training = Training([], 2.5, 1.5)
    store.put("key", kept, training, {"seed": 0})
    path = store.folder / "key" / name
    path.write_bytes(damage(path.read_bytes()))
    if store.get("key", found) is None:
        assert (store.folder / "key.damaged-1" / name).exists()
    else:
        assert torch.equal(kept.weight, found.weight)


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
    return Artifact(export(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).eval())).content


@settings(many, max_examples=500)
@given(damage=damages())
def test_onnx_files_are_refused_or_run(onnx_file, damage):
    """A run folder's file is checked by its sum first; this is what happens to a file whose sum nobody knows."""
    try:
        file = load(damage(onnx_file))
    except DamagedFile:
        return
    assert {opset.domain for opset in file.opset_import} <= {"", "ai.onnx"}
    # What ONNX Runtime makes of it is an exception of Python's or ten numbers; verify says the former in one line.
    with contextlib.suppress(Exception):
        logits = session(file.SerializeToString(), 1)(np.zeros((2, 1, 28, 28), np.float32))
        assert isinstance(logits, np.ndarray)
