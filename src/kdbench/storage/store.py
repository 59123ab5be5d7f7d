"""What was computed at length, kept by the hash of everything that decided it, so that nothing is done twice."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from kdbench.errors import DamagedFile
from kdbench.storage import durable, locks
from kdbench.storage.checksums import checksum, seal_record, unseal_record
from kdbench.training.checkpoint import Checkpoint
from kdbench.training.fit import Epoch

# Part of every key. To be raised whenever the same settings give other weights than before, or entries another form.
FORMAT = 3
TENSORS = "tensors.safetensors"
RECORD = "record.json"
CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class Training:
    """What is remembered of a training beside its weights.

    `seconds` are what it takes alone; `recalled_seconds` of them were spared, since a teacher's logits lay in
    the store already.
    """

    history: list[Epoch]
    seconds: float
    recalled_seconds: float = 0.0


@dataclass(frozen=True)
class Speech:
    """A teacher's logits (n, 10) for one view of the training set, by the index of the image, and their cost."""

    logits: Tensor
    seconds: float


class Store:
    """A folder of trainings, speeches and exported files. Entries appear whole or not at all, and are never changed.

    An entry that is not what was written is set aside, reported, and treated as missing. `checkpoint_seconds` is
    the least time between two checkpoints of a training.
    """

    def __init__(self, folder: Path, checkpoint_seconds: float = 30.0) -> None:
        self.folder = folder
        self.checkpoint_seconds = checkpoint_seconds

    @contextlib.contextmanager
    def making(self, key: str, what: str, wait: bool = True) -> Iterator[None]:
        """A context in which no other process makes `key`; see `locks.held`."""
        with locks.held(self.folder / "locks" / key, what, wait):
            durable.sweep(self.folder, key)
            yield

    def has(self, key: str) -> bool:
        """Whether there is an entry, damaged or not."""
        return os.path.lexists(self.folder / key)

    def checkpoint(self, key: str) -> Checkpoint:
        """Return the progress of the training `key`, for who has its lock."""
        return Checkpoint(durable.folder(self.folder / CHECKPOINTS) / key, self.checkpoint_seconds)

    def drop_checkpoint(self, key: str) -> None:
        """Forget the progress of the training `key`, which has ended."""
        with contextlib.suppress(OSError):
            (self.folder / CHECKPOINTS / key).unlink(missing_ok=True)

    def get(self, key: str, network: nn.Module) -> Training | None:
        """Load the weights of `key` into `network` and return its training, or None if there is none."""
        entry = self._read(key)
        if entry is None:
            return None
        weights, record = entry
        try:
            history = [Epoch(**epoch) for epoch in record["history"]]
            training = Training(history, record["seconds"], record["recalled_seconds"])
            network.load_state_dict(weights)
        except (KeyError, TypeError, RuntimeError) as error:
            return self._set_aside(key, error)
        return training

    def put(self, key: str, network: nn.Module, training: Training, identity: dict[str, Any]) -> None:
        """Keep the weights of `network` under `key`, with the identity in plain words."""
        self._write(key, network.state_dict(), asdict(training) | {"identity": identity})

    def speech(self, key: str) -> Speech | None:
        """Return the speech kept under `key`, or None if there is none."""
        entry = self._read(key)
        if entry is None:
            return None
        tensors, record = entry
        try:
            return Speech(tensors["logits"], record["seconds"])
        except KeyError as error:
            return self._set_aside(key, error)

    def put_speech(self, key: str, speech: Speech, identity: dict[str, Any]) -> None:
        """Keep `speech` under `key`, with the identity in plain words."""
        self._write(key, {"logits": speech.logits}, {"seconds": speech.seconds, "identity": identity})

    def file(self, key: str) -> bytes | None:
        """Return the bytes of the file kept under `key`, or None if there is none."""
        entry = self._read(key)
        if entry is None:
            return None
        try:
            return entry[0]["file"].numpy().tobytes()
        except KeyError as error:
            return self._set_aside(key, error)

    def put_file(self, key: str, content: bytes, identity: dict[str, Any]) -> None:
        """Keep the bytes of a file under `key`, with the identity in plain words."""
        self._write(key, {"file": torch.frombuffer(bytearray(content), dtype=torch.uint8)}, {"identity": identity})

    def _read(self, key: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        if not self.has(key):
            return None
        entry = self.folder / key
        try:
            record = unseal_record(key, durable.read(entry / RECORD))
            content = durable.read(entry / TENSORS)
            if checksum(content) != record["sha256"]:
                raise DamagedFile("the tensors are not those that were written")
            return load(content), record
        except (KeyError, DamagedFile, SafetensorError) as error:
            return self._set_aside(key, error)

    def _write(self, key: str, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
        durable.folder(self.folder)
        content = save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})
        with durable.told(self.folder / key):
            # A folder of our own, renamed when it is whole: parallel runs never see half an entry.
            draft = Path(tempfile.mkdtemp(dir=self.folder, prefix=f"{durable.DRAFT}{key}-"))
            try:
                durable.write(draft / TENSORS, content)
                durable.write(draft / RECORD, seal_record(key, {"sha256": checksum(content)} | record))
                os.rename(draft, self.folder / key)  # noqa: PTH104 - Path.rename has no different meaning here
            except OSError:
                if not (self.folder / key).exists():
                    raise
            finally:
                shutil.rmtree(draft, ignore_errors=True)

    def _set_aside(self, key: str, why: Exception) -> None:
        durable.set_aside(self.folder / key, why)
