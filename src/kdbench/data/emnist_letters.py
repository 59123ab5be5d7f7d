"""EMNIST Letters (Cohen et al. 2017): 119,800 / 5,000 / 20,800 handwritten letters, upper and lower case together."""

from __future__ import annotations

import hashlib
import string
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdbench.data import idx, published
from kdbench.data.published import Publication
from kdbench.data.splits import Split, Splits
from kdbench.errors import DamagedFile

ARCHIVE = "gzip.zip"


@dataclass(frozen=True, kw_only=True)
class Letters(Publication):
    """The archive of all of EMNIST, whose sum is published; of the files in it none is."""

    sha256: str
    train: int = 124_800
    test: int = 20_800

    @property
    def folder(self) -> str:
        """Where torchvision puts the archive."""
        return f"{self.torchvision_name}/raw"

    @property
    def files(self) -> Sequence[str]:
        """The archive."""
        return (ARCHIVE,)

    def fetch(self, draft: Path) -> None:
        """Download the archive alone: torchvision would unpack all of it."""
        from kdbench.data.torchvision_import import torchvision

        published_at = getattr(torchvision.datasets, self.torchvision_name)
        place = draft / self.folder
        torchvision.datasets.utils.download_url(published_at.url, place, ARCHIVE, published_at.md5)

    def read(self, paths: Mapping[str, Path]) -> tuple[Split, Split]:
        """Return the training and the test images, upright: published are their mirror images in a diagonal."""
        path = paths[ARCHIVE]
        advice = f"replace it with the original {ARCHIVE}"
        try:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != self.sha256:
                    reason = "its SHA-256 is not the published one"
                    raise DamagedFile(f"{path} is truncated or altered ({reason}): {advice}")
                with zipfile.ZipFile(file) as archive:
                    return tuple(split(archive, part, getattr(self, part)) for part in ("train", "test"))
        except OSError as error:
            raise DamagedFile(f"{path} cannot be read ({error.strerror or error}): {advice}") from error
        except (zipfile.BadZipFile, KeyError, EOFError, zlib.error) as error:
            raise DamagedFile(f"{path} does not hold what it should ({error}): {advice}") from error


def split(archive: zipfile.ZipFile, part: str, count: int) -> Split:
    """Return the images and labels of `part`. Raises what comes of a damaged archive."""

    def array(kind: str, *shape: int) -> idx.Tensor:
        raw = archive.read(f"gzip/emnist-letters-{part}-{kind}-ubyte.gz")
        return idx.array(idx.unpacked(raw, shape), shape)

    images = array("images-idx3", count, idx.SIDE, idx.SIDE)
    labels = array("labels-idx1", count)
    return Split(images.transpose(1, 2).unsqueeze(1).contiguous(), labels.long() - 1)


EMNIST_LETTERS = Letters(
    torchvision_name="EMNIST",
    class_names=tuple(string.ascii_lowercase),
    sha256="fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e",  # as TensorFlow Datasets has it
)


def load(root: Path | None, cache: Path) -> Splits:
    """Return the splits; see `published.load` for what is raised."""
    return published.load(EMNIST_LETTERS, root, cache)
