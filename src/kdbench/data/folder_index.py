"""What lies in a folder of pictures: splits, classes and files, by their names. No picture is opened."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kdbench.data.suitable import MAX_CLASSES, of_classes, some
from kdbench.errors import BadSetting, printable

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
ENDINGS = (".png", ".jpg", ".jpeg")  # in any case
LAYOUTS = "it takes DIR/CLASS/*.png (or .jpg), or DIR/train/CLASS/* and DIR/test/CLASS/*"


class File(NamedTuple):
    """A picture: its split ("" where the folder has none), the number of its class, and where it lies.

    `path` is relative to the folder, `size` in bytes, the times in nanoseconds.
    """

    split: str
    label: int
    path: str
    size: int
    mtime: int  # when it was written last
    ctime: int  # when anything of it was changed last, which cannot be set back


@dataclass(frozen=True)
class Index:
    """The pictures of a folder, in the order of their names."""

    class_names: tuple[str, ...]
    splits: tuple[str, ...]  # ("",) where the folder has none
    files: tuple[File, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over names, sizes and times: as long as it stays, the pictures are not read again."""
        lines = ["\0".join(map(str, file)) for file in self.files]
        return hashlib.sha256(os.fsencode("\n".join([*self.class_names, *lines]))).hexdigest()


def index(root: Path) -> Index:
    """Return what lies in `root`: `CLASS/*`, or `{train,val,test}/CLASS/*`, of which `val` may be missing.

    Classes are in the order of their folders' names, as text. Hidden files and folders and __MACOSX are left out.
    Raises `BadSetting`, in one line, for any other layout.
    """
    if not root.is_dir():
        raise BadSetting(f"data.root={root} {'is no folder' if root.exists() else 'does not exist'}: {LAYOUTS}")
    try:
        splits = splits_in(root)
        places = {split: root / split for split in splits}
        found = {
            split: {name: dict(pictures_in(place / name)) for name in folders_in(place)}
            for split, place in places.items()
        }
    except OSError as error:
        raise BadSetting(f"data.root={root} cannot be read ({error.strerror}: {error.filename})") from error
    names = sorted({name for classes in found.values() for name in classes})
    require_classes(root, names)
    for split, classes in found.items():
        empty = [name for name in names if not classes.get(name)]
        if empty:
            ending = f"put {', '.join(ENDINGS)} files there, or remove it everywhere"
            raise BadSetting(f"{places[split]} holds no pictures of {of_classes(empty)}: {ending}")
    files = tuple(
        File(split, label, os.path.join(split, name, file), *status)  # noqa: PTH118 - of many, and relative
        for split, classes in found.items()
        for label, name in enumerate(names)
        for file, status in sorted(classes[name].items())
    )
    return Index(tuple(map(readable, names)), splits, files)


def splits_in(root: Path) -> tuple[str, ...]:
    """Return the splits that `root` holds, or ("",) if its folders are classes. Raises `BadSetting`."""
    top = folders_in(root)
    # A class may be called train, too; but then pictures lie in it, and not folders.
    if not set(top) <= set(SPLITS) and not any(folders_in(root / name) for name in top if name in SPLITS):
        return ("",)
    others = [name for name in top if name not in SPLITS]
    missing = [name for name in ("train", "test") if top and name not in top]
    if others:
        raise BadSetting(
            f"data.root={root} holds {', '.join(map(printable, top))}: beside train, val and test no other"
        )
    if missing:
        raise BadSetting(f"data.root={root} holds {' and '.join(top)}, but no {missing[0]}: {LAYOUTS}")
    return tuple(name for name in SPLITS if name in top) or ("",)


def folders_in(place: Path) -> list[str]:
    """Return the names of the folders in `place`, sorted."""
    with os.scandir(place) as entries:
        return sorted(entry.name for entry in entries if seen(entry.name) and entry.is_dir())


def pictures_in(place: Path) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """Yield the name of each picture in the folder of a class, with its size and time.

    What cannot be opened is among them, and found when it is read. Raises `BadSetting` if there are folders.
    """
    others = []
    with os.scandir(place) as entries:
        for entry in entries:
            if not seen(entry.name):
                continue
            if entry.name.lower().endswith(ENDINGS) and entry.is_file():
                status = entry.stat()
                yield entry.name, (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            elif entry.is_dir():
                raise BadSetting(f"{printable(str(place))} holds the folder {printable(entry.name)}: {LAYOUTS}")
            elif entry.name.lower().endswith(ENDINGS):
                yield entry.name, (0, 0, 0)
            else:
                others.append(entry.name)
    if others:
        log.warning("%s: left out, since they are no PNG or JPEG: %s", printable(str(place)), some(sorted(others)))


def seen(name: str) -> bool:
    """Whether a file or folder is not one that systems leave behind."""
    return name[0] != "." and name != "__MACOSX"


def require_classes(root: Path, names: Collection[str]) -> None:
    """Raise `BadSetting` if there are no classes, one, or too many."""
    if not names:
        raise BadSetting(f"data.root={root} holds no classes, folders of pictures: {LAYOUTS}")
    if len(names) == 1:
        raise BadSetting(f"data.root={root} holds one class ({printable(*names)}), and two are needed: {LAYOUTS}")
    if len(names) > MAX_CLASSES:
        raise BadSetting(f"data.root={root} holds {len(names):,} classes: at most {MAX_CLASSES:,} are possible")


def readable(name: str) -> str:
    """Return the name of a folder as text that can be written in UTF-8."""
    return os.fsencode(name).decode(errors="replace")
