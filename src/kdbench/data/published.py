"""Data sets published as MNIST was: looked for in `root`, then in the cache, then downloaded by torchvision."""

from __future__ import annotations

import contextlib
import io
import socket
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from kdbench.data import idx
from kdbench.data.splits import Split, Splits
from kdbench.errors import CannotWrite, DamagedFile, DataUnavailable
from kdbench.settings import bars
from kdbench.storage import durable

CONNECT_SECONDS = 10


@dataclass(frozen=True)
class Publication:
    """A data set published as MNIST was: four IDX files, 60,000 training and 10,000 test images."""

    torchvision_name: str
    sha256: dict[str, str]
    class_names: Sequence[str] = tuple("0123456789")
    # Whether the sums are of the gzipped files, which alone are read then; others may be gzipped or not, and again.
    packed: bool = False
    namesakes: frozenset[str] = frozenset()  # sums of files of the same names that belong to other data
    train: int = 60_000
    test: int = 10_000
    validation: int = 5_000  # the last of the training images


def load(publication: Publication, root: Path | None, cache: Path) -> Splits:
    """Return the splits; the last 5,000 training images are the validation split.

    Raises `DamagedFile` if a file is there but not the published one, `DataUnavailable` if the files are
    neither in `root` nor in `cache` and cannot be downloaded.
    """
    if root is not None:
        found = read(publication, root)
        if found is not None:
            return found
    found = read(publication, cache)
    if found is None:
        download(publication, cache)
        found = read(publication, cache)
    if found is None:
        raise DataUnavailable(f"{publication.torchvision_name} was downloaded to {cache} but is not there")
    return found


def read(publication: Publication, folder: Path) -> Splits | None:
    """Return the splits from the four files under `folder`, or None if they are not all there."""
    names = {
        "train-images-idx3-ubyte": (publication.train, 28, 28),
        "train-labels-idx1-ubyte": (publication.train,),
        "t10k-images-idx3-ubyte": (publication.test, 28, 28),
        "t10k-labels-idx1-ubyte": (publication.test,),
    }
    paths = {name: find(publication, folder, name) for name in names}
    if None in paths.values():
        return None
    arrays = [
        idx.read(paths[name], shape, publication.sha256[name], publication.packed, publication.namesakes)
        for name, shape in names.items()
    ]
    try:
        training = Split(arrays[0].unsqueeze(1), arrays[1].long())
        test = Split(arrays[2].unsqueeze(1), arrays[3].long())
        count = publication.validation
        return Splits(training[:-count], training[-count:], test, publication.class_names)
    except DamagedFile as error:
        raise DamagedFile(f"the {publication.torchvision_name} files in {folder} are damaged: {error}") from error


def find(publication: Publication, folder: Path, name: str) -> Path | None:
    """Return the file under `folder`, or None. Raises `DamagedFile` if it is only there in a form without a sum."""
    found = idx.find(folder, publication.torchvision_name, name)
    if found is None or not publication.packed:
        return found
    packed = idx.find(folder, publication.torchvision_name, name, (".gz",))
    if packed is None:
        raise DamagedFile(f"{found} cannot be checked: put the original {name}.gz, which can be, beside it")
    return packed


def download(publication: Publication, cache: Path) -> None:
    """Let torchvision download the files to `cache`, where they appear whole. Raises `DataUnavailable`."""
    from kdbench.data.torchvision_import import torchvision

    dataset = getattr(torchvision.datasets, publication.torchvision_name)
    durable.folder(cache)
    durable.sweep(cache, "download", older_than=durable.ABANDONED_SECONDS)
    before = socket.getdefaulttimeout()
    # torchvision passes no time-out of its own: without one, a machine behind a silent firewall would hang.
    socket.setdefaulttimeout(CONNECT_SECONDS)
    try:
        # It also prints every address it tries; the outcome is reported by us, in one line.
        # In a folder of our own first: two runs that download at once must not write into each other's files.
        with (
            tempfile.TemporaryDirectory(dir=cache, prefix=f"{durable.DRAFT}download-") as draft,
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()) if bars.hidden() else contextlib.nullcontext(),
        ):
            dataset(draft, train=True, download=True)
            raw = cache / publication.torchvision_name / "raw"
            raw.mkdir(parents=True, exist_ok=True)
            for path in (Path(draft) / publication.torchvision_name / "raw").iterdir():
                path.replace(raw / path.name)
    except (OSError, RuntimeError, HTTPException) as error:
        if isinstance(error, OSError) and error.errno in durable.DISK:
            raise CannotWrite(durable.reason(cache / publication.torchvision_name, error)) from error
        reason = str(error).strip().splitlines()[0].rstrip(":") if str(error).strip() else type(error).__name__
        raise DataUnavailable(
            f"{publication.torchvision_name} is not on this machine and could not be downloaded ({reason})"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
