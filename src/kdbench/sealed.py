"""Bytes under their own checksum, so that whatever was altered on the disk is noticed. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from kdbench.errors import DamagedFile


def checksum(content: bytes | str) -> str:
    """Return the SHA-256 as 64 hex digits."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def seal(content: bytes) -> bytes:
    """Return `content` under a first line that holds its checksum."""
    return checksum(content).encode() + b"\n" + content


def unseal(content: bytes) -> bytes:
    """Return what was sealed. Raises `DamagedFile` if a byte is missing, added or altered."""
    told, _, inner = content.partition(b"\n")
    if told.decode("ascii", "replace") != checksum(inner):
        raise DamagedFile("its checksum is not that of its content")
    return inner


def seal_record(record: dict[str, Any]) -> str:
    """Return `record`, which JSON must be able to say, as JSON with a checksum under the name `seal`."""
    plain = json.loads(json.dumps(record, default=str))
    return json.dumps({"seal": checksum(json.dumps(plain, sort_keys=True))} | plain, indent=1)


def unseal_record(text: str | bytes) -> dict[str, Any]:
    """Return the record that was sealed. Raises `DamagedFile` if it was altered."""
    try:
        record = json.loads(text)
        told = record.pop("seal")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise DamagedFile(f"it is not a sealed record: {error}") from error
    if told != checksum(json.dumps(record, sort_keys=True)):
        raise DamagedFile("its checksum is not that of its content")
    return record
