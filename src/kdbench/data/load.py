"""From a data configuration to splits: the one it names, or, loudly, its fallback."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace

from kdbench.data.splits import Splits
from kdbench.errors import DamagedFile, DataUnavailable
from kdbench.settings import targets
from kdbench.settings.config import Config, DataConfig, digest

log = logging.getLogger(__name__)

# Of this process: the jobs of a sweep read the files once, and wait for a dead network once.
_loaded: dict[str, tuple[DataConfig, Splits] | DataUnavailable | DamagedFile] = {}


def load(config: Config) -> tuple[Config, Splits]:
    """Return the splits, and the configuration with the data set that was really used.

    Raises `DamagedFile` if files are there but altered, and `DataUnavailable` if there are none and no
    fallback is named.
    """
    key = digest([asdict(config.data), asdict(config.fallback) if config.fallback else None])
    if key not in _loaded:
        try:
            _loaded[key] = find(config.data, config.fallback)
        except (DataUnavailable, DamagedFile) as error:
            _loaded[key] = error
    outcome = _loaded[key]
    if isinstance(outcome, Exception):
        raise outcome
    data, splits = outcome
    return replace(config, data=data), splits


def find(data: DataConfig, fallback: DataConfig | None) -> tuple[DataConfig, Splits]:
    """Load `data`; where it is not to be had, say so and load `fallback`."""
    try:
        return data, targets.instantiate(data.loader | {"root": data.root, "cache": data.cache}, "data")
    except DataUnavailable as error:
        lacks = "does not hold its files" if data.root and data.root.is_dir() else "does not exist"
        looked = f" (data.root={data.root} {lacks})" if data.root else ""
        if fallback is None:
            raise DataUnavailable(
                f"{error}{looked}; name a folder with its files (data.root=FOLDER) or use data=mnist_5k"
            ) from error
        log.warning(
            "\n".join(
                [
                    "!" * 78,
                    f"!! {error}{looked}.",
                    f"!! GOING ON WITH {fallback.name} INSTEAD: rows and charts say {fallback.name}, "
                    f"not {data.name}.",
                    "!! To use your own copy: data.root=FOLDER. To stop here instead: data.fallback=null.",
                    "!" * 78,
                ]
            )
        )
        return find(fallback, None)
