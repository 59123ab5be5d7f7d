"""Runs that are taken from an object store, to be read here. Imports no torch."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from kdbench.errors import Busy, DamagedFile
from kdbench.results.row import FILE
from kdbench.results.run_folder import FILES, held, place, read_whole
from kdbench.settings import outputs_url
from kdbench.storage import checksums, durable
from kdbench.storage.remote import Remote

RUNS = "runs"
NAME = r"[^\W_][\w.-]*"  # of a data set or a run: nothing that leads elsewhere
RUN = re.compile(rf"{RUNS}/{NAME}/{NAME}")


def taken(url: str) -> tuple[Path, list[str]]:
    """Bring here the runs below a URL that are not here, or older; return the folder of this machine for that URL.

    The URL is one given as outputs=, or goes on from there with runs/DATA or runs/DATA/RUN. The lines say what was
    taken, and what could not be. Raises `CannotReach`, and `BadSetting` for what is no URL of a store.
    """
    url = outputs_url.canonical("FOLDER", url)
    remote = Remote(url, outputs_url.local(url))
    found, below = remote.places(RUNS), ""
    if not found and f"/{RUNS}/" in f"{url}/":
        url, _, below = f"{url}/".rpartition(f"/{RUNS}/")
        below = f"{RUNS}/{below}".rstrip("/")
        remote = Remote(url, outputs_url.local(url))
        found = remote.places(below) | ({below: sums} if (sums := remote.sums(below)) else {})
    count, lines = 0, []
    for run, sums in sorted(found.items()):
        if not RUN.fullmatch(run):
            continue
        try:
            count += bring(remote, run, sums)
        except (DamagedFile, Busy) as error:
            lines.append(f"skipped {url}/{run}: {error}")
    if found:
        durable.folder(remote.local)  # though none of them can be had
    if count:
        lines.append(f"{count} of {len(found)} runs were taken from {url}, and lie in {remote.local}")
    return remote.local / below, lines


def bring_one(outputs: Path, url: str, run: str) -> None:
    """Bring the run whose place is `run`, such as runs/DATA/RUN, to `outputs`, if what a store has of it is newer.

    Raises `CannotReach`, `DamagedFile`, and `Busy`.
    """
    remote = Remote(url, outputs)
    if (sums := remote.sums(run)) is not None:
        bring(remote, run, sums)


def bring(remote: Remote, run: str, sums: bytes) -> bool:
    """Bring a run here; return whether it was not here. Raises `DamagedFile`, and `Busy` if it is being made here."""
    folder = remote.local / run
    if (folder / checksums.SUMS).is_file() and durable.read(folder / checksums.SUMS) == sums:
        return False
    files = remote.fetch(run, FILES)
    if files is None or FILE not in files:
        return False
    with held(folder, wait=False):
        if date_of(files[FILE]) <= date_here(folder):  # it could not be pushed yet
            return False
        place(durable.folder(folder), files)
    return True


def date_here(folder: Path) -> str:
    """Return when the run in a folder was done, as its row says; "" if there is no whole one."""
    try:
        return read_whole(folder).date
    except DamagedFile:
        return ""


def date_of(row: bytes) -> str:
    """Return when a run was done, as its row says. Raises `DamagedFile` for what is no row."""
    lines = list(csv.DictReader(io.StringIO(row.decode(errors="replace"))))
    if len(lines) != 1 or not (date := lines[0].get("date")):
        raise DamagedFile(f"{FILE} is no row")
    return date
