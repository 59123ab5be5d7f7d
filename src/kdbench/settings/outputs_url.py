"""A URL given as `outputs`: short for an object store and a working folder of this machine. Imports no fsspec."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdbench.errors import BadSetting

NAMES = ("outputs", "remote")
SCHEMES = ("s3", "gs", "file")
ONE_SLASH = re.compile(r"(s3a?|gs|gcs|file|memory|https?):/(?!/)")
PARTS = re.compile(r"([a-z][a-z0-9+.-]*)://([\w.%+=@~:/-]+)")


def is_url(place: object) -> bool:
    """Whether a place is a URL, and no folder."""
    return isinstance(place, str) and "://" in place


def apart(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings in which a URL given as `outputs` is parted into `remote` and its local folder.

    Raises `BadSetting` for what is no URL, and for a `remote` beside it.
    """
    url = settings.get("outputs")
    if isinstance(url, str) and ONE_SLASH.match(url):
        whole = url.replace(":/", ":///" if url.startswith("file") else "://", 1)
        raise BadSetting(f"outputs={url} has one slash: type outputs={whole}, or outputs=./{url} for a folder here")
    if not is_url(url):
        return dict(settings)
    if settings.get("remote"):
        raise BadSetting(f"outputs={url} names an object store, and so does remote=: give one of them")
    return {**settings, "outputs": str(local(url)), "remote": canonical("outputs", url)}


def canonical(setting: str, url: str) -> str:
    """Return a URL without empty parts, such as `s3://bucket/study`. Raises `BadSetting` for what is none."""
    found = PARTS.fullmatch(url)
    parts = [part for part in found[2].split("/") if part] if found else []
    if not found or not parts or {".", ".."} & set(parts):
        raise BadSetting(f"{setting}={url} is no URL of an object store, such as s3://bucket/study")
    if found[1] == "file" and not found[2].startswith("/"):
        raise BadSetting(f"{setting}={url} is no whole path: type {setting}=file://{Path(found[2]).absolute()}")
    return f"{found[1]}://{'/' if found[1] == 'file' else ''}{'/'.join(parts)}"


def local(url: str) -> Path:
    """Return the folder in which this machine works on what a URL holds: the same one for the same URL."""
    scheme, _, path = canonical("outputs", url).partition("://")
    return _cache() / scheme / path.strip("/")


def as_typed(folder: Path) -> str:
    """Return what to type for a folder of results: the URL that this machine works on there, if it is that of one."""
    for scheme in SCHEMES:
        if folder.absolute().is_relative_to(place := _cache() / scheme) and folder.absolute() != place:
            path = folder.absolute().relative_to(place).as_posix()
            return f"{scheme}://{'/' if scheme == 'file' else ''}{path}"
    return str(folder)


def rejoined(settings: Sequence[str]) -> list[str]:
    """Return typed settings with `outputs` and `remote` as the one URL that `apart` has made them of, if it has."""
    pairs = [(word, *word.partition("=")[::2]) for word in settings]
    found = {name: value.strip("'\"") for _, name, value in pairs if name in NAMES}
    url = found.get("remote", "")
    if not is_url(url) or found.get("outputs") != str(local(url)):
        return list(settings)
    return [*(word for word, name, _ in pairs if name not in NAMES), f"outputs={url}"]


def _cache() -> Path:
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (given if given.is_absolute() else Path.home() / ".cache") / "kdbench"  # as its specification has it
