"""A folder of pictures of one's own: a folder for each class, split by a fixed rule or by who made it."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from kdbench.data import folder_cache, pictures
from kdbench.data.folder_cache import Folder
from kdbench.data.folder_index import LAYOUTS, SPLITS, Index, index
from kdbench.data.folder_splits import divided
from kdbench.data.pictures import OtherSize, Picture, Unreadable
from kdbench.data.splits import Split, Splits
from kdbench.data.suitable import CHANNELS, MAX_SIDE, MIN_SIDE, some
from kdbench.errors import BadSetting, DamagedFile, printable
from kdbench.settings import bars, checks
from kdbench.settings.config import digest

log = logging.getLogger(__name__)

FORMAT = 2  # to be raised whenever the same pictures are read into other tensors
USUAL_SIDE = 32  # which messages propose


@dataclass(frozen=True)
class Knobs:
    """How pictures become images: see `load`."""

    size: int | None
    channels: int | None
    convert_channels: bool
    skip_unreadable: bool

    def check(self) -> None:
        """Raise `BadSetting` for the first one out of range."""
        if self.size is not None:
            checks.whole("data.size", self.size, MIN_SIDE, MAX_SIDE)
        if self.channels is not None and (isinstance(self.channels, bool) or self.channels not in CHANNELS):
            raise BadSetting(f"data.channels={self.channels} is out of range: it takes 1 or 3")
        for name in ("convert_channels", "skip_unreadable"):
            checks.within(f"data.{name}", getattr(self, name), bool, "")


def load(
    root: Path | None,
    cache: Path,
    size: int | None = None,
    channels: int | None = None,
    convert_channels: bool = False,
    skip_unreadable: bool = False,
) -> Splits:
    """Return the pictures in `root`, whose layout `folder_index.index` describes, as `size` x `size` images.

    `size` None: their own, if they are all squares of one size. `channels` None: 1 if all are grey, else 3; other
    channels than the pictures have are an error, unless `convert_channels`. They are read once: as long as names,
    sizes and times stay, they come from a file in `cache`. Images are in the order of class and content, so that
    folders of the same content have one fingerprint.
    Raises `BadSetting`, and `DamagedFile` if pictures cannot be read, unless `skip_unreadable`.
    """
    if root is None:
        raise BadSetting(f"data=image_folder needs data.root=DIR: {LAYOUTS}")
    knobs = Knobs(size, channels, convert_channels, skip_unreadable)
    knobs.check()
    found = index(root)
    place = digest([os.path.realpath(root), asdict(knobs)])[:16]
    path = cache / "image_folders" / f"{re.sub(r'[^A-Za-z0-9-]+', '_', root.name)}-{place}.safetensors"
    key = digest([FORMAT, asdict(knobs), found.digest])
    folder = folder_cache.read(path, key)
    if folder is None:
        folder = read(root, found, knobs)
        folder_cache.write(path, key, folder)
    for note in folder.notes:
        log.warning("data.root=%s: %s", root, note)
    return folder.splits


def read(root: Path, found: Index, knobs: Knobs) -> Folder:
    """Read every picture, and divide them. Raises as `load` does."""
    outcomes = pictures_of(root, found, knobs)
    problems = [
        f"{printable(file.path)} ({outcome})"
        for file, outcome in zip(found.files, outcomes, strict=True)
        if isinstance(outcome, Unreadable)
    ]
    notes = []
    if problems:
        said = f"{len(problems)} of {len(outcomes)} pictures cannot be read: {some(problems)}"
        if not knobs.skip_unreadable:
            raise DamagedFile(f"{said}: repair or remove them, or type data.skip_unreadable=true")
        notes.append(f"{said}: they are left out")
    files = [file for file, outcome in zip(found.files, outcomes, strict=True) if isinstance(outcome, Picture)]
    read = [outcome for outcome in outcomes if isinstance(outcome, Picture)]
    channels = channels_of(read, knobs)
    labels = [file.label for file in files]
    digests = by_what_they_show(read)
    splits = divided([file.split for file in files], labels, digests, found.class_names)
    shown = {name: [sha for sha, split in zip(digests, splits, strict=True) if split == name] for name in SPLITS}
    for name, other in (("val", "train"), ("test", "train"), ("test", "val")):
        there = set(shown[other])
        again = sum(sha in there for sha in shown[name])
        if again:
            where = "to train on" if other == "train" else "of val"
            notes.append(f"{again} of {len(shown[name])} pictures of {name} are among those {where}, too")

    def split(name: str) -> Split:
        # By what they show, and not by their names.
        own = sorted((labels[i], digests[i], i) for i, split in enumerate(splits) if split == name)
        side = read[0].pixels.shape[-1]
        images = np.empty((len(own), channels, side, side), np.uint8)
        for place, (*_, number) in enumerate(own):
            images[place] = read[number].pixels  # grey levels go to every channel
        return Split(torch.from_numpy(images), torch.tensor([label for label, *_ in own]))

    return Folder(Splits(split("train"), split("val"), split("test"), found.class_names), notes)


def by_what_they_show(read: Sequence[Picture]) -> list[bytes]:
    """Return the SHA-256 of each file; of several that show the same pixels, the smallest of theirs."""
    shown = [hashlib.sha256(picture.pixels.tobytes()).digest() for picture in read]
    smallest: dict[bytes, bytes] = {}
    for pixels, picture in zip(shown, read, strict=True):
        smallest[pixels] = min(smallest.get(pixels, picture.sha256), picture.sha256)
    return [smallest[pixels] for pixels in shown]


def pictures_of(root: Path, found: Index, knobs: Knobs) -> list[Picture | Unreadable]:
    """Return each picture, or why there is none. Raises `BadSetting` if no size is typed and they have several."""
    paths = [root / file.path for file in found.files]
    side = knobs.size or own_side(found, paths)
    grey = knobs.channels == 1 and knobs.convert_channels
    reading = pictures.read_all(paths, side, resize=knobs.size is not None, grey=grey)
    outcomes = []
    with contextlib.closing(reading):
        for outcome in tqdm(reading, "reading", len(paths), unit="picture", disable=bars.hidden(), leave=False):
            if isinstance(outcome, OtherSize):
                other = printable(found.files[len(outcomes)].path)
                raise no_own_size(f"{other} has {outcome}, others {side}x{side}")
            outcomes.append(outcome)
    return outcomes


def own_side(found: Index, paths: Sequence[Path]) -> int:
    """Return the side of the first picture that can be read. Raises `BadSetting` if that is no size to use."""
    for file, path in zip(found.files, paths, strict=True):
        try:
            width, height = pictures.size_of(path)
        except Unreadable:
            continue
        if width != height or not MIN_SIDE <= width <= MAX_SIDE:
            raise no_own_size(f"{printable(file.path)} has {width}x{height}")
        return width
    return USUAL_SIDE


def no_own_size(found: str) -> BadSetting:
    """Return that a size has to be typed, since `found`."""
    possible = f"squares of one size, from {MIN_SIDE}x{MIN_SIDE} to {MAX_SIDE}x{MAX_SIDE}"
    return BadSetting(f"the pictures are not {possible} ({found}): type data.size={USUAL_SIDE} to resize them")


def channels_of(read: Sequence[Picture], knobs: Knobs) -> int:
    """Return how many channels the images have. Raises `BadSetting` if other ones were typed than pictures have."""
    coloured = sum(len(picture.pixels) == 3 for picture in read)
    own = 3 if coloured else 1
    if knobs.channels in (None, own) or knobs.convert_channels:
        return knobs.channels or own
    which = f"{coloured} of {len(read)} pictures are in colour" if coloured else f"all {len(read)} pictures are grey"
    turned = "make them grey" if coloured else "repeat the grey in each channel"
    raise BadSetting(f"{which}: type data.channels={own}, or data.convert_channels=true to {turned}")
