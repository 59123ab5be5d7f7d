import threading

import pytest
import torch
from torch import nn

from kdbench.storage.store import RECORD, TENSORS, Speech, Store, Training
from kdbench.training.fit import Epoch

TRAINING = Training([Epoch(1, 0.5, 0.4, 0.9, 1.25)], 2.5, 1.5)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def test_weights_and_record_come_back_exactly(store):
    kept, other = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    nn.init.normal_(kept.weight)
    kept.running_mean.normal_()
    store.put("key", kept, TRAINING, {"seed": 0})
    assert store.get("key", other) == TRAINING
    for name, tensor in kept.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_speech_comes_back_exactly(store, dtype):
    said = Speech(torch.randn(7, 10).to(dtype), 0.25)
    store.put_speech("key", said, {"view": 1})
    found = store.speech("key")
    assert found.seconds == said.seconds
    assert found.logits.dtype == dtype
    assert torch.equal(found.logits, said.logits)
    assert store.speech("other") is None


def test_a_file_comes_back_exactly(store):
    store.put_file("key", b"\x00onnx\xff", {"export of": "it"})
    assert store.file("key") == b"\x00onnx\xff"
    assert store.file("other") is None


def test_what_was_never_kept_is_not_there(store):
    assert store.get("key", nn.Linear(2, 2)) is None


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (TENSORS, lambda content: content[:-1]),
        (TENSORS, lambda content: b""),
        (TENSORS, lambda content: content[:-1] + bytes([content[-1] ^ 1])),
        (RECORD, lambda content: content[:-1]),
        (RECORD, lambda content: b""),
        (RECORD, lambda content: b"[]"),
        (RECORD, lambda content: content.replace(b"2.5", b"2.6")),
    ],
)
def test_what_is_damaged_is_set_aside_reported_and_made_again(store, name, damage, caplog):
    store.put("key", nn.Linear(2, 2), TRAINING, {})
    path = store.folder / "key" / name
    path.write_bytes(damage(path.read_bytes()))
    assert store.get("key", nn.Linear(2, 2)) is None
    assert "key is damaged" in caplog.text
    store.put("key", nn.Linear(2, 2), TRAINING, {})
    assert store.get("key", nn.Linear(2, 2)) == TRAINING
    assert {entry.name for entry in store.folder.iterdir()} == {"key", "key.damaged-1"}


def test_a_link_to_nowhere_is_damage_too(store):
    store.folder.mkdir(exist_ok=True)
    (store.folder / "key").symlink_to("nowhere")
    assert store.get("key", nn.Linear(2, 2)) is None
    store.put("key", nn.Linear(2, 2), TRAINING, {})
    assert store.get("key", nn.Linear(2, 2)) == TRAINING


def test_parallel_writers_leave_one_whole_entry_and_nothing_else(store):
    networks = [nn.Linear(50, 50) for _ in range(8)]
    threads = [threading.Thread(target=store.put, args=("key", network, TRAINING, {})) for network in networks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.name for path in store.folder.iterdir()] == ["key"]
    found = nn.Linear(50, 50)
    store.get("key", found)
    assert sum(torch.equal(found.weight, network.weight) for network in networks) == 1


def test_an_entry_in_the_place_of_another_is_no_entry(store, caplog):
    for key in ("one", "other"):
        store.put(key, nn.Linear(3, 2), Training([], 2.5), {"key": key})
    (store.folder / "one").rename(store.folder / "spare")
    (store.folder / "other").rename(store.folder / "one")
    assert store.get("one", nn.Linear(3, 2)) is None
    assert "one is damaged (its checksum is not that of its content and name)" in caplog.text
