"""The pictures of a folder as tensors in one file, so that a folder that stays as it is is read once."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from kdbench.data.splits import Split, Splits
from kdbench.errors import DamagedFile
from kdbench.storage import durable

log = logging.getLogger(__name__)

NAMES = ("train", "val", "test")


@dataclass(frozen=True)
class Folder:
    """What was read from a folder, and what was noticed on the way, to be said whenever it is used."""

    splits: Splits
    notes: Sequence[str] = ()


def read(path: Path, key: str) -> Folder | None:
    """Return what `write` put there under `key`, or None if there is nothing, or nothing that may be used.

    The fingerprint is computed from images and labels, and has to be the one that was written.
    """
    if not path.is_file():
        return None
    try:
        # The tensors are the file itself, mapped into memory; others only ever replace it, by renaming.
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["about"])
            if about["key"] != key:
                return None
            images, labels = file.get_tensor("images"), file.get_tensor("labels")
        parts = zip(images.split(about["counts"]), labels.split(about["counts"]), strict=True)
        splits = Splits(*(Split(*part) for part in parts), class_names=tuple(about["class_names"]))
        if splits.fingerprint != about["fingerprint"]:
            raise DamagedFile("its content is not what was written")
        return Folder(splits, about["notes"])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError, DamagedFile) as error:
        log.warning("%s is damaged (%s): the pictures are read anew", path, str(error).partition("\n")[0])
        return None


def write(path: Path, key: str, folder: Folder) -> None:
    """Keep `folder` in the file `path`, in the place of what was there. Raises `CannotWrite`."""
    splits = folder.splits
    parts = [getattr(splits, name) for name in NAMES]
    about = {
        "key": key,
        "counts": [len(part) for part in parts],
        "class_names": list(splits.class_names),
        "fingerprint": splits.fingerprint,
        "notes": list(folder.notes),
    }
    tensors = {
        "images": torch.cat([part.images for part in parts]),
        "labels": torch.cat([part.labels for part in parts]),
    }
    durable.folder(path.parent)
    durable.write(path, save(tensors, {"about": json.dumps(about)}))
