"""The progress of one training in one file, from which it goes on after a kill as if nothing had happened."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from kdbench.errors import CannotWrite, DamagedFile
from kdbench.storage import durable
from kdbench.storage.checksums import seal, unseal

log = logging.getLogger(__name__)

SHARE = 0.01  # of a training's time, which writing its checkpoints may take


@dataclass(frozen=True)
class Saved:
    """Where one fit stands: everything that changes in it, as tensors, and what JSON can say."""

    tensors: dict[str, Tensor]
    record: dict[str, Any]


@dataclass
class Account:
    """What a training took so far: `seconds` of its own, those of a teacher recalled from the store, and which view.

    `heard` is the view whose cost is counted already.
    """

    seconds: float = 0.0
    recalled: float = 0.0
    heard: int | None = None


@dataclass
class Checkpoint:
    """The fits of one training in their order; the last may be unfinished, the others only end in their results.

    A method may fit several times. Repeated from its beginning after a kill, it is handed the results of the fits
    that had ended, and the state of the one that had not. Only for who has the lock on the training.
    """

    path: Path
    every: float  # seconds between two checkpoints, at least
    account: Account = field(default_factory=Account)
    fits: list[Saved] = field(default_factory=list)
    tally: Callable[[], Account] = Account  # gives the account at any moment

    def __post_init__(self) -> None:
        self.begun = 0  # fits of this process
        self.due_at = time.monotonic() + self.every
        durable.sweep(self.path.parent, self.path.name)
        if os.path.lexists(self.path):
            try:
                self.account, self.fits = decode(unseal(self.path.name, durable.read(self.path)))
            except DamagedFile as error:
                durable.set_aside(self.path, error)

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
            durable.write(self.path, seal(self.path.name, encode(self.tally(), self.fits)))
        except CannotWrite as error:
            log.warning("no checkpoint could be written: %s", error)
        cost = time.monotonic() - began
        log.debug("checkpoint at step %s, in %.1f ms", saved.record["step"], 1000 * cost)
        self.due_at = time.monotonic() + max(self.every, cost / SHARE)

    def end(self, saved: Saved) -> None:
        """Remember how the present fit stands, or ended, until the next checkpoint is written."""
        self.fits[self.begun - 1 : self.begun] = [saved]


def encode(account: Account, fits: Sequence[Saved]) -> bytes:
    """Return everything as one safetensors file, with the records in its header."""
    tensors = {
        f"{number}/{name}": tensor.detach().to("cpu", copy=True).contiguous()
        for number, saved in enumerate(fits)
        for name, tensor in saved.tensors.items()
    }
    told = {"account": vars(account), "fits": [saved.record for saved in fits]}
    return save(tensors, {"kdbench": json.dumps(told)})


def decode(content: bytes) -> tuple[Account, list[Saved]]:
    """Return what was encoded. Raises `DamagedFile` on anything else."""
    try:
        tensors = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        told = json.loads(header["__metadata__"]["kdbench"])
        fits = []
        for number, record in enumerate(told["fits"]):
            prefix = f"{number}/"
            own = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
            fits.append(Saved(own, record | {"step": int(record["step"])}))
        return Account(**told["account"]), fits
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise DamagedFile(f"it is not a checkpoint: {error}") from error
