"""Are images to learn from among those that a run is judged by? Imports nothing of the network."""

from __future__ import annotations

import hashlib

from kdbench.data.splits import Split, Splits
from kdbench.errors import BadSetting

AT_ONCE = 10_000  # images that are compared at a time
MOST = 0.005  # share of the images held out: some data sets hold a few pictures twice


def require_apart(name: str, learnt: Split, splits: Splits) -> None:
    """Raise `BadSetting` if the transfer set `name` holds test or validation images of `splits`."""
    held_out = {
        content
        for split in (splits.val, splits.test)
        for start in range(0, len(split), AT_ONCE)
        for content in contents(split, start)
    }
    count = sum(
        content in held_out for start in range(0, len(learnt), AT_ONCE) for content in contents(learnt, start)
    )
    if count > MOST * (len(splits.val) + len(splits.test)):
        raise BadSetting(
            f"compress.transfer={name} holds {count} of the images that this run is validated and tested on: "
            "choose another"
        )


def contents(split: Split, start: int) -> list[bytes]:
    """Return digests of so many images, one after the other."""
    part = split.images[start : start + AT_ONCE].flatten(1).contiguous().numpy()
    return [hashlib.blake2b(image, digest_size=16).digest() for image in part]
