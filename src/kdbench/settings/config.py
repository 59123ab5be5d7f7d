"""The settings of a run: their types, their ranges, and what they decide. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from kdbench.settings import checks, schema
from kdbench.settings.schema import Schema as Schema


@dataclass
class TrainConfig:
    """How a network is trained; every field is a knob `train.*`."""

    epochs: int = MISSING
    batch_size: int = MISSING
    lr: float = MISSING  # peak of the one-cycle schedule
    weight_decay: float = MISSING  # decoupled (AdamW)
    shift: int = MISSING  # pixels, the largest random move in x and y

    def check(self) -> None:
        """Raise `BadSetting` for the first field outside its range."""
        for name, value in asdict(self).items():
            schema.check(f"train.{name}", value)


@dataclass(frozen=True)
class DataConfig:
    """A data set: `loader` names the function and its knobs, the rest says where to look."""

    name: str
    loader: dict[str, Any]
    root: Path | None
    cache: Path
    fingerprint: str = ""  # of the images and labels, once they are read


@dataclass(frozen=True)
class NetworkConfig:
    """Everything that decides a trained network, besides the data and the machine."""

    name: str
    model: dict[str, Any]
    train: TrainConfig
    seed: int


@dataclass(frozen=True)
class CompressConfig:
    """A named list of steps; `settings` are the knobs as one line, for tables and charts."""

    name: str
    steps: tuple[dict[str, Any], ...]
    settings: str


@dataclass(frozen=True)
class Config:
    """One run, with every choice resolved. `teacher` is the whole configuration of the teacher's baseline."""

    data: DataConfig
    fallback: DataConfig | None
    network: NetworkConfig
    compress: CompressConfig
    teacher: NetworkConfig | None
    device: str
    precision: str
    threads: int | None
    outputs: Path
    seeds_together: str = "auto"  # whether a sweep trains the seeds of a variant at once; auto: on a GPU
    checkpoint_seconds: float = 30.0  # between two checkpoints of a training, at least
    again: bool = False  # whether a run that is done is made once more
    code: dict[str, str] = field(default_factory=dict)  # of each _target_, when known: its code and unnamed defaults

    def __post_init__(self) -> None:
        for network in (self.network, self.teacher):
            if network is not None:
                network.train.check()
                schema.check("seed", network.seed)
        for name in ("device", "precision", "seeds_together", "checkpoint_seconds"):
            schema.check(name, getattr(self, name))
        checks.name("data", self.data.name)
        checks.name("model", self.network.name)
        checks.name("compress", self.compress.name)
        checks.plain("compress", self.compress.settings)
        if self.teacher is not None:
            checks.name("compress.teacher", self.teacher.name)

    @property
    def trains_seeds_together(self) -> bool:
        """Whether it does, once `device` is resolved: a small network leaves most of a GPU idle, but not a CPU."""
        return self.seeds_together == "always" or (self.seeds_together == "auto" and self.device == "cuda")

    def at_seed(self, seed: int) -> Config:
        """Return the run of the same variant under another seed; the teacher's stays as far from it as it was."""
        network, teacher = self.network, self.teacher
        if teacher is not None:
            teacher = replace(teacher, seed=teacher.seed - network.seed + seed)
        return replace(self, network=replace(network, seed=seed), teacher=teacher)

    @property
    def run_name(self) -> str:
        """What the folder of the run is called."""
        return f"{self.network.name}-{self.compress.name}-seed{self.network.seed}-{self.hash}"

    @property
    def hash(self) -> str:
        """Eight hex digits over every setting that decides the row, and nothing that only says where things lie.

        Code is left out: a run of edited code replaces the row of the old code.
        """
        return digest(self._deciding())[:8]

    @property
    def variant(self) -> str:
        """Eight hex digits that runs share if and only if they differ in nothing but the seed, code included."""
        deciding = self._deciding()
        for network in ("network", "teacher"):
            if deciding[network] is not None:
                del deciding[network]["seed"]
        return digest([deciding, self.code])[:8]

    @property
    def network_hash(self) -> str:
        """Eight hex digits shared by every treatment and seed of one network: what before and after join on."""
        return self._hash_of(self.network)

    @property
    def teacher_hash(self) -> str | None:
        """The `network_hash` of the teacher's own runs."""
        return self._hash_of(self.teacher) if self.teacher else None

    def _hash_of(self, network: NetworkConfig) -> str:
        deciding = self._deciding() | {"network": asdict(network) | {"seed": None}}
        del deciding["compress"], deciding["teacher"]
        code = [self.code.get(node["_target_"]) for node in (network.model, self.data.loader)]
        return digest([deciding, code])[:8]

    def _deciding(self) -> dict[str, Any]:
        deciding = asdict(self)
        for name in ("outputs", "code", "fallback", "seeds_together", "checkpoint_seconds", "again"):
            del deciding[name]
        del deciding["data"]["root"], deciding["data"]["cache"]
        return deciding


def digest(content: Any) -> str:
    """SHA-256 over plain content, independent of the order of keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
