"""One run, one row: the columns, and their way to CSV and back."""

from __future__ import annotations

import csv
import io
import math
import os
import tempfile
import types
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from kdbench.errors import DamagedFile, NotFinite

FILE = "metrics.csv"


@dataclass(frozen=True)
class Row:
    """What one run measured, read off the file that ships. Empty fields are those that have no meaning there."""

    dataset: str
    model: str
    compress: str
    teacher: str | None
    teacher_seed: int | None
    settings: str  # the knobs of the compression
    seed: int
    accuracy: float  # fraction of the test images
    errors: int
    test_images: int
    nll: float  # nats
    ece: float
    agreement: float | None  # with the teacher; for quantize and prune with the baseline
    teacher_kl: float | None  # nats; from the same network as `agreement`
    teacher_accuracy: float | None  # of the teacher's own file on the same test images
    val_accuracy: float | None  # of the last training epoch, before any change of the file
    parameters: int  # trainable
    nonzero_parameters: int  # as stored in the file
    macs: int  # multiply-adds for one image
    weight_bytes: int
    size_bytes: int
    size_gzip_bytes: int
    baseline_size_bytes: int
    teacher_size_bytes: int | None
    latency_ms: float  # batch 1, one thread, median
    latency_p90_ms: float
    throughput: float  # images a second, batch 256
    train_seconds: float  # everything that led to this network, its teacher's training not included
    teacher_train_seconds: float | None
    device: str
    precision: str
    threads: int
    cpu: str
    kdbench_version: str
    python_version: str
    torch_version: str
    onnxruntime_version: str
    config_hash: str
    variant_hash: str  # shared by runs that differ in nothing but the seed
    network_hash: str  # shared by all treatments and seeds of one network
    teacher_hash: str | None  # the network_hash of the teacher
    data_fingerprint: str


_TYPES = get_type_hints(Row)
NAMES = [field.name for field in fields(Row)]
NUMBERS = [name for name, kind in _TYPES.items() if kind is not str and str not in get_args(kind)]


def write(row: Row, folder: Path) -> None:
    """Write `row` to `folder`/metrics.csv; the file is there whole or not at all.

    Raises `NotFinite` if a number is infinite or NaN, which `read` would refuse.
    """
    for name, value in asdict(row).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise NotFinite(f"{name} is {value}: the network has broken down, so there is no row")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(NAMES)
    writer.writerow(["" if value is None else value for value in asdict(row).values()])
    write_whole(folder / FILE, text.getvalue().encode())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file by a temporary one of its own beside it, flushed, then renamed."""
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).chmod(0o644)  # mkstemp's own mode would shut out everyone else
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def read(path: Path) -> Row:
    """Read one metrics.csv. Raises `DamagedFile`, with what is wrong, if it is not exactly one whole row."""
    try:
        with path.open(newline="") as file:
            lines = list(csv.reader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DamagedFile(f"{path}: cannot be read ({error})") from error
    if len(lines) != 2:
        raise DamagedFile(f"{path}: {max(len(lines) - 1, 0)} rows instead of one")
    header, values = lines
    missing = [name for name in NAMES if name not in header]
    if missing:
        raise DamagedFile(f"{path}: no column {missing[0]}")
    if len(header) != len(values):
        raise DamagedFile(f"{path}: {len(values)} values under {len(header)} columns")
    named = dict(zip(header, values, strict=True))
    return Row(**{name: _parse(path, name, named[name]) for name in NAMES})


def _parse(path: Path, name: str, text: str) -> Any:
    kind = _TYPES[name]
    if isinstance(kind, types.UnionType):
        if text == "":
            return None
        kind = next(option for option in get_args(kind) if option is not types.NoneType)
    try:
        value = kind(text)
    except ValueError as error:
        raise DamagedFile(f"{path}: {name} is '{text}', not a number") from error
    if kind is float and not math.isfinite(value):
        raise DamagedFile(f"{path}: {name} is {text}")
    return value
