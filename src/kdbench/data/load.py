"""From the description of a data set to its splits, or, loudly, to those of its fallback."""

from __future__ import annotations

import inspect
import logging
from dataclasses import asdict, replace

import torch

from kdbench.data import suitable
from kdbench.data.splits import Splits
from kdbench.errors import BadSetting, DamagedFile, DataUnavailable
from kdbench.settings import targets
from kdbench.settings.config import digest
from kdbench.settings.network import DataSpec, NetworkSpec

log = logging.getLogger(__name__)

# Of one command: the jobs of a sweep read the files once, and wait for a dead network once.
_loaded: dict[str, tuple[DataSpec, Splits] | DataUnavailable | DamagedFile] = {}


def load(data: DataSpec, fallback: DataSpec | None = None, source: Splits | None = None) -> tuple[DataSpec, Splits]:
    """Return the splits, and the data set that was really used, with its fingerprint.

    `source` is what a transfer set is made of, where its function has a parameter of that name.
    Raises `DamagedFile` if files are there but altered, and `DataUnavailable` if there are none and no fallback is
    named.
    """
    # A description whose fingerprint is known already is that of the same data.
    made_of = [source.fingerprint, *source.class_names] if source else None
    key = digest([asdict(replace(data, fingerprint="")), asdict(fallback) if fallback else None, made_of])
    if key not in _loaded:
        try:
            used, splits = find(data, fallback, source)
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


def find(data: DataSpec, fallback: DataSpec | None, source: Splits | None = None) -> tuple[DataSpec, Splits]:
    """Load `data`; where it is not to be had and no folder was typed, report it and load `fallback`."""
    try:
        loader = data.loader | {"root": data.root, "cache": data.cache}
        if "source" in inspect.signature(targets.target_of(loader, "data")).parameters:
            loader["source"] = source
        return data, limited(targets.instantiate(loader, "data"), data)
    except DataUnavailable as error:
        if data.root is not None:
            raise  # what was asked for, or nothing
        if fallback is None:
            # Only a transfer set is made, or chosen, for data that are there already.
            named = f"compress.transfer={{data:{data.name},root:FOLDER}}" if source else "data.root=FOLDER"
            other = "" if source else " or use data=mnist_5k"
            raise DataUnavailable(f"{error}; name a folder with its files ({named}){other}") from error
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


def limited(splits: Splits, data: DataSpec) -> Splits:
    """Return the data with `data.train_images` of their training images, the first ones of each class in turn.

    Raises `BadSetting` if there are not as many.
    """
    count = data.train_images
    if count is None:
        return splits
    if count > len(splits.train):
        raise BadSetting(f"data.train_images={count}: {data.name} has {len(splits.train)} training images")
    labels = splits.train.labels
    # How many of its class stand before an image: 0 for the first of each, then 1 ...
    by_class = labels.argsort(stable=True)
    starts = torch.bincount(labels, minlength=splits.classes).cumsum(0) - torch.bincount(
        labels, minlength=splits.classes
    )
    number = torch.empty_like(labels)
    number[by_class] = torch.arange(len(labels)) - starts[labels[by_class]]
    chosen = number.argsort(stable=True)[:count].sort().values
    return replace(splits, train=splits.train[chosen])
