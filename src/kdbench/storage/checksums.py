"""Bytes under a checksum of their own and of their name: altered or put in another's place, it is noticed.

Imports no torch.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from kdbench.errors import DamagedFile

ALTERED = "its checksum is not that of its content and name"


def checksum(content: bytes | str) -> str:
    """Return the SHA-256 as 64 hex digits."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def named(name: str, content: bytes) -> str:
    """Return the checksum of `content` under its `name`."""
    return checksum(name.encode() + b"\n" + content)


def seal(name: str, content: bytes) -> bytes:
    """Return `content`, to be kept under `name`, below a first line that holds the checksum of both."""
    return named(name, content).encode() + b"\n" + content


def unseal(name: str, content: bytes) -> bytes:
    """Return what was sealed under `name`. Raises `DamagedFile` if a byte is missing, added or altered."""
    told, _, inner = content.partition(b"\n")
    if told.decode("ascii", "replace") != named(name, inner):
        raise DamagedFile(ALTERED)
    return inner


def seal_record(name: str, record: dict[str, Any]) -> bytes:
    """Return `record`, which JSON must be able to say, as JSON with the checksum of both in `seal`."""
    plain = json.loads(json.dumps(record, default=str))
    return json.dumps({"seal": named(name, canonical(plain))} | plain, indent=1).encode()


def unseal_record(name: str, text: bytes) -> dict[str, Any]:
    """Return the record that was sealed under `name`. Raises `DamagedFile` if it was altered."""
    try:
        record = json.loads(text)
        told = record.pop("seal")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise DamagedFile(f"it is not a sealed record: {error}") from error
    if told != named(name, canonical(record)):
        raise DamagedFile(ALTERED)
    return record


def canonical(record: dict[str, Any]) -> bytes:
    """Return the one form of a record that its checksum is of."""
    return json.dumps(record, sort_keys=True).encode()
