"""What was computed at length, kept by the hash of everything that decided it, so that nothing is done twice."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from kdbench.errors import DamagedFile
from kdbench.training.fit import Epoch

# Part of every key. To be raised whenever the same settings give other weights than before.
FORMAT = 2
TENSORS = "tensors.safetensors"
RECORD = "record.json"


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

    Reading raises `DamagedFile` if an entry is not what was written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: str, network: nn.Module) -> Training | None:
        """Load the weights of `key` into `network` and return its training, or None if there is none."""
        entry = self._read(key)
        if entry is None:
            return None
        weights, record = entry
        try:
            history = [Epoch(**epoch) for epoch in record["history"]]
            training = Training(history, record["seconds"], record["recalled_seconds"])
        except (KeyError, TypeError) as error:
            raise self._damaged(key, error) from error
        network.load_state_dict(weights)
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
            raise self._damaged(key, error) from error

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
            raise self._damaged(key, error) from error

    def put_file(self, key: str, content: bytes, identity: dict[str, Any]) -> None:
        """Keep the bytes of a file under `key`, with the identity in plain words."""
        self._write(key, {"file": torch.frombuffer(bytearray(content), dtype=torch.uint8)}, {"identity": identity})

    def _read(self, key: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        entry = self.folder / key
        if not entry.exists():
            return None
        try:
            record = json.loads((entry / RECORD).read_text())
            content = (entry / TENSORS).read_bytes()
            if hashlib.sha256(content).hexdigest() != record["sha256"]:
                raise ValueError("the tensors are not those that were written")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._damaged(key, error) from error
        return load(content), record

    def _write(self, key: str, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        content = save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})
        record = {"sha256": hashlib.sha256(content).hexdigest()} | record
        # A folder of our own, renamed when it is whole: parallel runs never see half an entry.
        draft = Path(tempfile.mkdtemp(dir=self.folder, prefix=f".{key}-"))
        try:
            (draft / TENSORS).write_bytes(content)
            (draft / RECORD).write_text(json.dumps(record, indent=1, default=str))
            os.rename(draft, self.folder / key)  # noqa: PTH104 - Path.rename has no different meaning here
        except OSError:
            if not (self.folder / key).exists():
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _damaged(self, key: str, error: Exception) -> DamagedFile:
        return DamagedFile(f"{self.folder / key} is damaged ({error}): delete it, and it is made again")
