"""What was computed at length, kept by the hash of everything that decided it, so that nothing is done twice."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from kdbench.errors import BadSetting, DamagedFile
from kdbench.storage import checksums, durable, locks
from kdbench.storage.mirror import Mirror

TENSORS = "tensors.safetensors"
RECORD = "record.json"

Made = tuple[Mapping[str, Tensor], Mapping[str, Any]]
"""What an entry holds: tensors by name, and a record that JSON can say."""

_remade: set[Path] = set()  # entries that stores with `remake` made in this process


def forget() -> None:
    """Forget what was made again: the next command of this process makes it once more, if it is asked to."""
    _remade.clear()


@dataclass(frozen=True)
class Entry:
    """What is kept under a key; `was_there` says that an earlier call, or another process, had made it."""

    tensors: dict[str, Tensor]
    record: dict[str, Any]
    was_there: bool


class Store:
    """A folder of entries: trained weights, logits of teachers, exported files.

    Entries appear whole or not at all. One that is not what was written is set aside, reported, and made again.
    `remake`: what is there already is made again, once in this process. `frozen`: nothing is written, and what
    takes long is not made. `mirror` is what has the entries of other machines, and gets this one's.
    """

    def __init__(
        self, folder: Path, *, remake: bool = False, frozen: bool = False, mirror: Mirror | None = None
    ) -> None:
        self.folder = folder
        self.remake = remake
        self.frozen = frozen
        self.mirror = mirror

    def memo(
        self,
        key: str,
        title: str,
        identity: Mapping[str, Any],
        make: Callable[[], Made],
        *,
        wait: bool = True,
        quick: bool = False,
    ) -> Entry:
        """Return the entry `key`, which `make` makes if it is not there; `identity` is what the key is a hash of.

        Another process that makes the same is waited for, or, without `wait`, `Busy` is raised. `quick` is what a
        frozen store may make, without keeping it; of anything else it raises `BadSetting`.
        """
        found = self.get(key)
        if found is not None:
            return found
        if self.frozen:
            if not quick:
                raise BadSetting(f"{title} is not in the store: --retrain makes it")
            tensors, record = make()
            return Entry(dict(tensors), dict(record), was_there=False)
        with locks.held(self.folder / "locks" / key, title, wait):
            durable.sweep(self.folder, key)
            found = self.get(key) or self._fetched(key)  # another process, or machine, may have been at it
            if found is not None:
                return found
            tensors, record = make()
            self._write(key, tensors, dict(record) | {"key": key, "identity": identity})
            if self.mirror is not None:
                self.mirror.push(self.folder / key)
            return Entry(dict(tensors), dict(record), was_there=False)

    def has(self, key: str) -> bool:
        """Whether there is an entry, damaged or not."""
        return os.path.lexists(self.folder / key)

    def get(self, key: str) -> Entry | None:
        """Return the entry `key`, or None if there is none, or none that may be used."""
        folder = self.folder / key
        if not self.has(key) or (self.remake and folder not in _remade):
            return None
        try:
            files = checksums.read(folder, (TENSORS, RECORD))
            record = json.loads(files[RECORD])
            if record["key"] != key:
                raise DamagedFile("it is the entry of another key")
            return Entry(load(files[TENSORS]), record, was_there=True)
        except (ValueError, KeyError, TypeError, SafetensorError, DamagedFile) as error:
            if not self.frozen:
                durable.set_aside(folder, error)
            return None

    def checkpoint_folder(self, key: str) -> Path:
        """Return where the progress of the training `key` is kept, for who has its lock."""
        return self.folder / "checkpoints" / key

    def _fetched(self, key: str) -> Entry | None:
        """Return the entry of another machine, once it lies here; for who has the lock."""
        if self.mirror is None or self.remake:
            return None
        files = self.mirror.fetch(self.folder / key, (TENSORS, RECORD))
        if files is None:
            return None
        self._put(key, files)
        return self.get(key)

    def _write(self, key: str, tensors: Mapping[str, Tensor], record: dict[str, Any]) -> None:
        # Copies: safetensors refuses tensors that share memory, as the weights of tied layers do.
        content = save({name: tensor.to("cpu", copy=True).contiguous() for name, tensor in tensors.items()})
        files = {TENSORS: content, RECORD: json.dumps(record, indent=1, default=str).encode()}
        self._put(key, files | {checksums.SUMS: checksums.sums(files)})

    def _put(self, key: str, files: Mapping[str, bytes]) -> None:
        durable.folder(self.folder)
        before = self.folder / f"{durable.DRAFT}{key}-before"
        with durable.writing(self.folder / key):
            # A folder of our own, renamed when it is whole: parallel runs never see half an entry.
            draft = Path(tempfile.mkdtemp(dir=self.folder, prefix=f"{durable.DRAFT}{key}-"))
            try:
                for name, part in files.items():
                    durable.write(draft / name, part)
                if self.remake and self.has(key):
                    os.rename(self.folder / key, before)  # noqa: PTH104 - as below
                os.rename(draft, self.folder / key)  # noqa: PTH104 - Path.rename has no different meaning here
            except OSError:
                with contextlib.suppress(OSError):
                    os.rename(before, self.folder / key)  # noqa: PTH104
                if self.remake or not self.has(key):
                    raise
            finally:
                shutil.rmtree(draft, ignore_errors=True)
                shutil.rmtree(before, ignore_errors=True)
        if self.remake:
            _remade.add(self.folder / key)
