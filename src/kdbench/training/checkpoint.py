"""The progress of one training in a folder, from which it goes on after a kill as if nothing had happened."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from kdbench.errors import CannotWrite, DamagedFile
from kdbench.storage import checksums, durable
from kdbench.training.spent import Spent

log = logging.getLogger(__name__)

SHARE = 0.01  # of a training's time, which writing its checkpoints may take


@dataclass(frozen=True)
class Saved:
    """Where one fit stands: everything that changes in it, as tensors, and what JSON can say."""

    tensors: dict[str, Tensor]
    record: dict[str, Any]


@dataclass
class Cost:
    """What a training took so far: `own`, and what logits of teachers found in the store took once.

    The latter by the key of their entry, so that none is counted twice. `threads` is how many it takes from its
    beginning to its end, whoever goes on with it: how many sum decides bits.
    """

    own: Spent = field(default_factory=Spent)
    cached: dict[str, Spent] = field(default_factory=dict)
    threads: int | None = None

    @property
    def of_teachers(self) -> Spent:
        """What the teachers would have taken, had nothing been in the store."""
        return sum(self.cached.values(), Spent())

    @property
    def whole(self) -> Spent:
        """What the training would have taken, had nothing been in the store."""
        return self.own + self.of_teachers


@dataclass
class Checkpoint:
    """The fits of one training in their order; the last may be unfinished, the others only end in their results.

    A method may fit several times. Repeated from its beginning after a kill, it is handed the results of the fits
    that had ended, and the state of the one that had not. Only for who has the lock on the training, whose key is the
    name of the `folder`.
    """

    folder: Path
    every: float  # seconds between two checkpoints, at least
    cost: Cost = field(default_factory=Cost)
    fits: list[Saved] = field(default_factory=list)
    now: Callable[[], Cost] | None = None  # gives the cost at any moment

    def __post_init__(self) -> None:
        self.begun = 0  # fits of this process
        self.number = 0  # of the file that was written last
        self.due_at = time.monotonic() + self.every
        if not os.path.lexists(self.folder) or self._was_never_written():
            return
        try:
            (name,) = checksums.parse_at(self.folder)
            content = checksums.read(self.folder, [name])[name]
            self.cost, self.fits = decode(self.folder.name, content)
            self.number = int(name.partition(".")[0])
        except (DamagedFile, ValueError) as error:
            durable.set_aside(self.folder, error)

    @property
    def step(self) -> int:
        """How many steps of the next fit are done already."""
        return int(self.fits[self.begun].record["step"]) if len(self.fits) > self.begun else 0

    def begin(self) -> Saved | None:
        """Return where the next fit of the training stands, or None if it has not begun."""
        self.begun += 1
        return self.fits[self.begun - 1] if len(self.fits) >= self.begun else None

    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return time.monotonic() >= self.due_at

    def save(self, saved: Saved) -> None:
        """Write where the present fit stands. A disk that is full is reported; the training goes on without."""
        began = time.monotonic()
        self.end(saved)
        try:
            self._write(encode(self.folder.name, self.now() if self.now else self.cost, self.fits))
        except CannotWrite as error:
            log.warning("no checkpoint could be written: %s", error)
        cost = time.monotonic() - began
        log.debug("checkpoint at step %s, in %.1f ms", saved.record["step"], 1000 * cost)
        self.due_at = time.monotonic() + max(self.every, cost / SHARE)

    def end(self, saved: Saved) -> None:
        """Remember how the present fit stands, or ended, until the next checkpoint is written."""
        self.fits[self.begun - 1 : self.begun] = [saved]

    def drop(self) -> None:
        """Forget it all: the training has ended."""
        self.remove(self.folder)

    @staticmethod
    def remove(folder: Path) -> None:
        """Remove the progress that is kept in `folder`, if there is any."""
        shutil.rmtree(folder, ignore_errors=True)

    def _was_never_written(self) -> bool:
        """Whether a process was killed before its first checkpoint was whole."""
        if not self.folder.is_dir():
            return False
        names = {path.name for path in self.folder.iterdir() if not path.name.startswith(durable.DRAFT)}
        return names <= {"1.safetensors"}

    def _write(self, content: bytes) -> None:
        """Write the next file beside the last one; SHA256SUMS, replaced at once, then says which of them counts."""
        durable.folder(self.folder)
        self.number += 1
        files = {f"{self.number}.safetensors": content}
        for name in files:
            durable.write(self.folder / name, content)
        durable.write(self.folder / checksums.SUMS, checksums.sums(files))
        for path in self.folder.iterdir():
            if path.name not in (*files, checksums.SUMS):
                with contextlib.suppress(OSError):
                    path.unlink()


def cost_from_plain(own: Mapping[str, float], cached: Mapping[str, Mapping[str, float]], threads: int | None) -> Cost:
    """Return the cost that `asdict` gave this of."""
    return Cost(Spent(**own), {key: Spent(**spent) for key, spent in cached.items()}, threads)


def encode(key: str, cost: Cost, fits: Sequence[Saved]) -> bytes:
    """Return everything as one safetensors file, with the records in its header."""
    tensors = {
        f"{number}/{name}": tensor.detach().to("cpu", copy=True).contiguous()
        for number, saved in enumerate(fits)
        for name, tensor in saved.tensors.items()
    }
    record = {"key": key, "cost": asdict(cost), "fits": [saved.record for saved in fits]}
    return save(tensors, {"kdbench": json.dumps(record)})


def decode(key: str, content: bytes) -> tuple[Cost, list[Saved]]:
    """Return what was encoded under `key`. Raises `DamagedFile` on anything else."""
    try:
        tensors = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        record = json.loads(header["__metadata__"]["kdbench"])
        if record["key"] != key:
            raise DamagedFile("it is the checkpoint of another training")
        fits = []
        for number, own_record in enumerate(record["fits"]):
            prefix = f"{number}/"
            own = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
            fits.append(Saved(own, own_record | {"step": int(own_record["step"])}))
        return cost_from_plain(**record["cost"]), fits
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise DamagedFile(f"it is not a checkpoint: {error}") from error
