"""Every row under a folder; damaged ones are named and left out. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from kdbench.errors import BadSetting, DamagedFile
from kdbench.results.row import FILE, Row, read
from kdbench.settings.outputs_url import as_typed


def collect(folder: Path) -> tuple[list[Row], list[str]]:
    """Return the rows under `folder`, and one line for each file that is not a whole row.

    Raises `BadSetting` if the folder does not exist or holds no readable row.
    """
    rows, damaged = by_folder(folder)
    return list(rows.values()), damaged


def by_folder(folder: Path) -> tuple[dict[Path, Row], list[str]]:
    """Return what `collect` does, the rows by the folders that hold them."""
    if not folder.is_dir():
        raise BadSetting(f"there is no folder {as_typed(folder)}: give the one that runs wrote to, such as outputs/")
    rows: dict[Path, Row] = {}
    damaged: list[str] = []

    def unreadable(error: OSError) -> None:
        damaged.append(f"{error.filename}: cannot be read ({error.strerror})")

    paths = [Path(place) / FILE for place, *names in os.walk(folder, onerror=unreadable) if FILE in chain(*names)]
    for path in sorted(paths):
        try:
            rows[path.parent] = read(path)
        except DamagedFile as error:
            damaged.append(str(error))
    if not rows:
        reason = f"; skipped {damaged[0]}" if damaged else ""
        raise BadSetting(
            f"there are no rows under {as_typed(folder)}{reason}: kdbench sweep outputs={as_typed(folder)} makes them"
        )
    return rows, damaged


def by_dataset(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows of each data set: rows of different data are never compared.

    Data of one name but other content (another fingerprint) count as another data set.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.dataset, row.data_fingerprint), []).append(row)
    names = [name for name, _ in groups]
    return {
        name if names.count(name) == 1 else f"{name}-{fingerprint[:6]}": members
        for (name, fingerprint), members in sorted(groups.items())
    }
