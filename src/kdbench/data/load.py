"""From the description of a data set to its splits, or, loudly, to those of its fallback."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace

from kdbench.data import suitable
from kdbench.data.splits import Splits
from kdbench.errors import DamagedFile, DataUnavailable
from kdbench.settings import targets
from kdbench.settings.config import digest
from kdbench.settings.network import DataSpec, NetworkSpec

log = logging.getLogger(__name__)

# Of one command: the jobs of a sweep read the files once, and wait for a dead network once.
_loaded: dict[str, tuple[DataSpec, Splits] | DataUnavailable | DamagedFile] = {}


def load(data: DataSpec, fallback: DataSpec | None = None) -> tuple[DataSpec, Splits]:
    """Return the splits, and the data set that was really used, with its fingerprint.

    Raises `DamagedFile` if files are there but altered, and `DataUnavailable` if there are none and no
    fallback is named.
    """
    # A description whose fingerprint is known already is that of the same data.
    key = digest([asdict(replace(data, fingerprint="")), asdict(fallback) if fallback else None])
    if key not in _loaded:
        try:
            used, splits = find(data, fallback)
            _loaded[key] = replace(used, fingerprint=splits.fingerprint), splits
        except (DataUnavailable, DamagedFile) as error:
            _loaded[key] = error
    outcome = _loaded[key]
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def forget() -> None:
    """Let files be looked for and read again: for a new command of a process, before which they may have changed."""
    _loaded.clear()


def load_for(network: NetworkSpec, data: DataSpec, fallback: DataSpec | None) -> tuple[DataSpec, Splits]:
    """Return what `load` does, for a run about `network`.

    Raises `BadSetting` beside that for data that no run can be about, or that are fewer than a batch.
    """
    used, splits = load(data, fallback)
    suitable.require(used.name, splits)
    suitable.require_batches(len(splits.train), network)
    return used, splits


def find(data: DataSpec, fallback: DataSpec | None) -> tuple[DataSpec, Splits]:
    """Load `data`; where it is not to be had and no folder was typed, report it and load `fallback`."""
    try:
        return data, targets.instantiate(data.loader | {"root": data.root, "cache": data.cache}, "data")
    except DataUnavailable as error:
        if data.root is not None:
            raise  # what was asked for, or nothing
        if fallback is None:
            raise DataUnavailable(
                f"{error}; name a folder with its files (data.root=FOLDER) or use data=mnist_5k"
            ) from error
        log.warning(
            "\n".join(
                [
                    "!" * 78,
                    f"!! {error}.",
                    f"!! GOING ON WITH {fallback.name} INSTEAD: rows and charts say {fallback.name}, "
                    f"not {data.name}.",
                    "!! To use your own copy: data.root=FOLDER. To stop here instead: data.fallback=null.",
                    "!" * 78,
                ]
            )
        )
        return find(fallback, None)
