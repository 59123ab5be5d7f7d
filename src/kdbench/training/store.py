"""Trained weights, kept by the hash of everything that decided them, so that nothing is trained twice."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import nn

from kdbench.errors import DamagedFile
from kdbench.training.fit import Epoch

# Part of every key. To be raised whenever the same settings give other weights than before.
FORMAT = 1
WEIGHTS = "weights.safetensors"
RECORD = "record.json"


@dataclass(frozen=True)
class Training:
    """What is remembered of a training beside its weights. `seconds` are those of this training alone."""

    history: list[Epoch]
    seconds: float


class Store:
    """A folder of trainings. Entries appear whole or not at all, and are never changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: str, network: nn.Module) -> Training | None:
        """Load the weights of `key` into `network` and return its training, or None if there is none.

        Raises `DamagedFile` if the entry is not what was written.
        """
        entry = self.folder / key
        if not entry.exists():
            return None
        try:
            record = json.loads((entry / RECORD).read_text())
            weights = (entry / WEIGHTS).read_bytes()
            if hashlib.sha256(weights).hexdigest() != record["sha256"]:
                raise ValueError("the weights are not those that were written")
            training = Training([Epoch(**epoch) for epoch in record["history"]], record["seconds"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DamagedFile(f"{entry} is damaged ({error}): delete it, and it is trained again") from error
        network.load_state_dict(load(weights))
        return training

    def put(self, key: str, network: nn.Module, training: Training, identity: dict[str, Any]) -> None:
        """Keep the weights of `network` under `key`, with the identity in plain words."""
        self.folder.mkdir(parents=True, exist_ok=True)
        weights = save({name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()})
        record = {
            "sha256": hashlib.sha256(weights).hexdigest(),
            "seconds": training.seconds,
            "history": [asdict(epoch) for epoch in training.history],
            "identity": identity,
        }
        # A folder of our own, renamed when it is whole: parallel runs never see half an entry.
        draft = Path(tempfile.mkdtemp(dir=self.folder, prefix=f".{key}-"))
        try:
            (draft / WEIGHTS).write_bytes(weights)
            (draft / RECORD).write_text(json.dumps(record, indent=1, default=str))
            os.rename(draft, self.folder / key)  # noqa: PTH104 - Path.rename has no different meaning here
        except OSError:
            if not (self.folder / key).exists():
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
