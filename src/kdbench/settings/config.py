"""The settings of a run, with every choice resolved, and the hashes that say what it is. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kdbench.settings import checks, schema
from kdbench.settings.network import WHOLE, DataSpec, NetworkSpec, data_from_plain, network_from_plain, plain, whole

# What decides nothing, and what stands here in another form: the data that were really used in `data`, the seeds that
# are really trained together in `together`; `code` has columns of its own.
NOT_DECIDING = {
    *(setting.name for setting in schema.SETTINGS if setting.decides == "nothing"),
    *("fallback", "seeds_together", "code", "files"),
}
# Of networks, what is younger than rows that are still read: with these values it is no part of their hash.
BEFORE_IT_WAS_A_SETTING = {"normalise": "data", "weights_except": [], "view": WHOLE}
# What decides bits and timings, but not the variant: machines differ in it.
OF_THE_MACHINE = ("threads", "instructions")


@dataclass(frozen=True)
class Config:
    """One run. `network` is what ships, its steps and their teachers included."""

    data: DataSpec
    fallback: DataSpec | None
    network: NetworkSpec
    settings: str  # the knobs of its compression as one line, for tables and charts
    device: str
    precision: str
    threads: int | None
    outputs: Path
    remote: str | None = None  # the URL of an object store that holds what is finished, too
    seeds_together: str = "auto"  # whether a sweep trains the seeds of a variant at once; auto: on a GPU
    robust_eps: float | None = (
        None  # of the attacks under which the accuracy is measured; None: those of its training
    )
    checkpoint_seconds: float = 30.0  # between two checkpoints of a training, at least
    again: bool = False  # whether a run that is done is made once more
    retrain: bool = False  # whether what it needs is trained anew, whatever the store holds
    images: str = ""  # their shape, how many classes they are in, and a hash of their names, once they are read
    instructions: str = ""  # vector instructions, or the GPU, once they are known: see `training.runtime.Runtime`
    together: tuple[int, ...] = ()  # the seeds that are trained as one network, this one's among them
    # Once known: the code that decides this row, that of the plain network's rows, and the files that are named here.
    code: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.network.check()
        for name in ("device", "precision", "threads", "seeds_together", "checkpoint_seconds", "robust_eps"):
            schema.check(name, getattr(self, name))
        checks.name("data", self.data.name)
        checks.plain("compress", self.settings)

    @property
    def compress(self) -> str:
        """The name of the compression."""
        return self.network.compress

    @property
    def teachers(self) -> tuple[NetworkSpec, ...]:
        """The teachers of the last step that has any, or what it joins."""
        return self.network.teachers

    @property
    def trains_seeds_together(self) -> bool:
        """Whether it does, once `device` is resolved: a small network leaves most of a GPU idle, but not a CPU."""
        return self.seeds_together == "always" or (self.seeds_together == "auto" and self.device == "cuda")

    @property
    def run_name(self) -> str:
        """What the folder of the run is called."""
        return f"{self.network.name}-{self.compress}-seed{self.network.seed}-{self.hash}"

    @property
    def hash(self) -> str:
        """Eight hex digits over every setting that decides the row, and nothing that only says where things lie.

        Code is left out: a run of edited code replaces the row of the old code.
        """
        return digest(self._deciding())[:8]

    @property
    def variant(self) -> str:
        """Eight hex digits that runs share if and only if they differ in nothing but seed and machine."""
        return digest([self._but_seed_and_machine(), self.code.get("row")])[:8]

    @property
    def network_hash(self) -> str:
        """Eight hex digits shared by every treatment and seed of one network: what before and after join on."""
        return self._hash_of(self.network)

    @property
    def teacher_hash(self) -> str | None:
        """The `network_hash` of the own runs of the one teacher that there is; None if there is none, or more."""
        return self._hash_of(self.teachers[0]) if len(self.teachers) == 1 else None

    def _hash_of(self, network: NetworkSpec) -> str:
        bare = replace(self, network=network.uncompressed, settings="", robust_eps=None)
        deciding = bare._but_seed_and_machine()
        return digest([deciding, self.code.get(name_of(network))])[:8]

    def _deciding(self) -> dict[str, Any]:
        deciding = {name: value for name, value in to_plain(self).items() if name not in NOT_DECIDING}
        # Data are what was read, weights what their files hold, wherever those lie.
        deciding["data"] = _known_data(deciding["data"])
        deciding["network"] = _known_network(deciding["network"])
        deciding["together"] = bool(self.together)
        if self.robust_eps is None:
            del deciding["robust_eps"]  # as in rows of before it was a setting
        return _with_contents(deciding, self.files)

    def _but_seed_and_machine(self) -> dict[str, Any]:
        deciding = {name: value for name, value in self._deciding().items() if name not in OF_THE_MACHINE}
        return deciding | {"network": _at_any_seed(deciding["network"])}


def name_of(network: NetworkSpec) -> str:
    """Return under what `code` has the hash of the code that makes a network, before any compression of it."""
    bare = network.uncompressed
    return digest([bare.model, str(bare.weights)])[:8]


def _with_contents(value: Any, files: dict[str, str]) -> Any:
    """Put the checksum of each file in the place of its path."""
    if isinstance(value, dict):
        return {key: _with_contents(item, files) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_contents(item, files) for item in value]
    return files.get(value, value) if isinstance(value, str) else value


def _known_data(data: dict[str, Any]) -> dict[str, Any]:
    return {name: data[name] for name in ("name", "fingerprint")}


def _known_network(network: dict[str, Any]) -> dict[str, Any]:
    steps = [
        step
        | {
            "transfer": step["transfer"] and _known_data(step["transfer"]),
            "teachers": list(map(_known_network, step["teachers"])),
        }
        for step in network["steps"]
    ]
    younger = [name for name, value in BEFORE_IT_WAS_A_SETTING.items() if network[name] == value]
    return {name: value for name, value in network.items() if name not in younger} | {"steps": steps}


def _at_any_seed(network: dict[str, Any]) -> dict[str, Any]:
    """Return a description without its seed, in which those of teachers are as far from it as they were, or fixed."""

    def teacher_of(teacher: dict[str, Any]) -> dict[str, Any]:
        seed = teacher["seed"] if teacher["seed_is_fixed"] else f"{teacher['seed'] - network['seed']:+d}"
        return _at_any_seed(teacher) | {"seed": seed}

    steps = [step | {"teachers": list(map(teacher_of, step["teachers"]))} for step in network["steps"]]
    return {name: value for name, value in network.items() if not name.startswith("seed")} | {"steps": steps}


def to_plain(config: Config) -> dict[str, Any]:
    """Return the configuration as YAML can say it."""
    return plain(config)


def from_plain(node: dict[str, Any]) -> Config:
    """Return the configuration that `to_plain` gave `node` of; nothing in it is called.

    Raises `BadSetting`, or what comes of reading anything else (`KeyError`, `TypeError`, ...).
    """
    return Config(
        **node
        | {
            "data": data_from_plain(node["data"]),
            "fallback": None,  # what was really used stands in `data`
            "network": network_from_plain(node["network"]),
            "outputs": Path(node["outputs"]),
            "together": tuple(node["together"]),
        }
    )


def digest(content: Any) -> str:
    """SHA-256 over plain content, independent of the order of keys; 4.0 is 4."""
    return hashlib.sha256(json.dumps(whole(content), sort_keys=True, default=str).encode()).hexdigest()
