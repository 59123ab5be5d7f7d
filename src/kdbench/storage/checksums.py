"""SHA256SUMS: the checksums of a folder's files, in a file beside them which `sha256sum --check` reads too.

The one scheme of kdbench: the folders of runs, entries of the store and checkpoints are all read through it. What a
folder is called stands in one of its files as well, so that a folder in the place of another is noticed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from kdbench.errors import DamagedFile
from kdbench.storage import durable

SUMS = "SHA256SUMS"
LINE = re.compile(r"([0-9a-f]{64})  ([\w.-]+)\n")


def checksum(content: bytes | str) -> str:
    """Return the SHA-256 as 64 hex digits."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def sums(files: Mapping[str, bytes]) -> bytes:
    """Return the content of SHA256SUMS for `files`, by their names."""
    return "".join(f"{checksum(content)}  {name}\n" for name, content in files.items()).encode()


def parse(content: bytes) -> dict[str, str]:
    """Return the checksums in the content of a SHA256SUMS, by name. Raises `DamagedFile` if it is none."""
    lines = content.decode("ascii", "replace").splitlines(keepends=True)
    found = [LINE.fullmatch(line) for line in lines]
    if not found or None in found:
        raise DamagedFile(f"{SUMS} does not hold checksums")
    return {match[2]: match[1] for match in found if match}


def read(folder: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Return the content of files of `folder` by name, each of which has the checksum that SHA256SUMS gives.

    Raises `DamagedFile`, whose `path` is the file that is missing or altered, and `CannotRead`.
    """
    known = parse_at(folder)
    files = {}
    for name in names:
        files[name] = checked(folder / name, known.get(name))
    return files


def parse_at(folder: Path) -> dict[str, str]:
    """Return the checksums that `folder` holds. Raises `DamagedFile`, and `CannotRead`."""
    path = folder / SUMS
    try:
        return parse(durable.read(path))
    except DamagedFile as error:
        raise DamagedFile(str(error), path) from error


def checked(path: Path, expected: str | None) -> bytes:
    """Return the content of the file `path`. Raises `DamagedFile` if its checksum is not `expected`."""
    try:
        content = durable.read(path)
    except DamagedFile as error:
        raise DamagedFile(str(error), path) from error
    if checksum(content) != expected:
        raise DamagedFile(f"its checksum is not the one in {SUMS}", path)
    return content
