"""Data sets as others published them: looked for in known places, else downloaded by torchvision, always checked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from kdbench.data.download import download
from kdbench.data.splits import Split, Splits
from kdbench.errors import DamagedFile, DataUnavailable


@dataclass(frozen=True, kw_only=True)
class Publication(ABC):
    """The files of a data set, and how they are read; a subclass is a form of publication."""

    torchvision_name: str  # of the class that downloads it
    class_names: Sequence[str]
    places: Sequence[Path] = ()  # of the system, which are looked at before the cache
    validation: int = 5_000  # the last of the training images
    endings: ClassVar[Sequence[str]] = ("",)  # of a file's name, in the order in which they are looked for

    @property
    @abstractmethod
    def folder(self) -> str:
        """Where torchvision puts the files under its root."""

    @property
    @abstractmethod
    def files(self) -> Sequence[str]:
        """The names of the files, without `endings`."""

    @abstractmethod
    def read(self, paths: Mapping[str, Path]) -> tuple[Split, Split]:
        """Return the training and the test images from the files by their names.

        Raises `DamagedFile` if one is not as it was published.
        """

    def fetch(self, draft: Path) -> None:
        """Download the files to `folder` under `draft`."""
        from kdbench.data.torchvision_import import torchvision

        getattr(torchvision.datasets, self.torchvision_name)(draft, train=True, download=True)

    def find(self, root: Path) -> dict[str, Path]:
        """Return the paths of those files that are there, directly in `root` or where torchvision puts them."""
        found = {}
        for name in self.files:
            candidates = [place / (name + end) for place in (root, root / self.folder) for end in self.endings]
            there = [path for path in candidates if path.is_file()]
            if there:
                found[name] = there[0]
        return found


def load(publication: Publication, root: Path | None, cache: Path) -> Splits:
    """Return the splits; the last of the training images are the validation split.

    Files are looked for in `root` alone if it is given; else in places of the system and in `cache`, to which they
    are downloaded. Raises `DamagedFile` if a file is there but not the published one, `DataUnavailable` if files are
    not there and cannot be downloaded.
    """
    if root is not None:
        require_in(publication, root)
        return read(publication, root)
    for place in (*publication.places, cache):
        if len(publication.find(place)) == len(publication.files):
            return read(publication, place)
    download(publication.torchvision_name, publication.folder, publication.fetch, cache)
    if len(publication.find(cache)) < len(publication.files):
        raise DataUnavailable(f"{publication.torchvision_name} was downloaded to {cache} but is not there")
    return read(publication, cache)


def require_in(publication: Publication, root: Path) -> None:
    """Raise `DataUnavailable`, in one line, unless all files are in `root`."""
    found = publication.find(root)
    missing = [name for name in publication.files if name not in found]
    if missing:
        endings = " or ".join(filter(None, publication.endings))
        forms = f" (plain, or {endings})" if endings else ""
        lacks = "does not hold" if root.is_dir() else "does not exist, and so does not hold"
        raise DataUnavailable(
            f"data.root={root} {lacks} {publication.torchvision_name}: {', '.join(missing)}{forms} "
            f"should be in it, or in {publication.folder} under it"
        )


def read(publication: Publication, root: Path) -> Splits:
    """Return the splits from the files in `root`. Raises `DamagedFile`."""
    train, test = publication.read(publication.find(root))
    count = publication.validation
    try:
        return Splits(train[:-count], train[-count:], test, publication.class_names)
    except DamagedFile as error:
        raise DamagedFile(f"the {publication.torchvision_name} files in {root} are damaged: {error}") from error
