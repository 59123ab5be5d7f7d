"""Which classes given weights were trained on, where their file says so, and whether those are the data's."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from kdbench.errors import BadSetting, DamagedFile, printable
from kdbench.models.onnx_graph import parsed
from kdbench.storage.safetensors_header import metadata

log = logging.getLogger(__name__)

PREFIX = "kdbench."  # of kdbench's keys among the metadata of an ONNX file
CLASSES = f"{PREFIX}classes"  # there, and among the metadata of a file of weights
SHOWN = 3


def require_classes(path: Path, class_names: Sequence[str]) -> None:
    """Raise `BadSetting` if `path` was trained on the same classes in another order: every logit would be misread.

    Of other names a warning says so: they may be other names of the same. Files that name no classes are taken as
    they are.
    """
    found = classes_in(path)
    if found is None or found == list(class_names) or len(found) != len(class_names):
        return
    apart = [(own, other) for own, other in zip(found, class_names, strict=True) if own != other]
    words = ", ".join(f"{printable(own)} where the data have {printable(other)}" for own, other in apart[:SHOWN])
    if sorted(found) == sorted(class_names):
        raise BadSetting(f"weights={path} were trained on these classes in another order ({words}): name them alike")
    log.warning("weights=%s were trained on other classes: %s", path, words)


def require_to_teach(path: Path, class_names: Sequence[str]) -> None:
    """Raise `BadSetting` if `path` was trained on other classes: without more training it cannot teach these."""
    found = classes_in(path)
    if found is None or sorted(found) == sorted(class_names):
        return
    own, other = (", ".join(map(printable, names[:SHOWN])) for names in (found, class_names))
    raise BadSetting(
        f"compress.teacher: {path} was trained on {len(found)} classes ({own}, ...), and the data have "
        f"{len(class_names)} ({other}, ...): name a teacher that was trained on these"
    )


def classes_in(path: Path) -> list[str] | None:
    """Return the names of the classes that a file of kdbench was trained on, or None of another."""
    try:
        if path.suffix == ".onnx":
            texts = {entry.key: entry.value for entry in parsed(path.read_bytes()).metadata_props}
        else:
            texts = metadata(path)
        names = json.loads(texts[CLASSES])
    except (OSError, KeyError, ValueError, RecursionError, DamagedFile):
        return None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None
