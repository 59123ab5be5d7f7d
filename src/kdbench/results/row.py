"""One run, one row: the columns, and their way to CSV and back."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from kdbench.errors import CannotRead, DamagedFile, NotFinite
from kdbench.settings.checks import NAME, inert
from kdbench.storage import durable
from kdbench.storage.checksums import checksum

FILE = "metrics.csv"
SEAL = "row_sha256"  # the last column: the checksum of all others


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
    artifact_sha256: str  # of model.onnx beside it


_TYPES = get_type_hints(Row)
# Texts that charts take for names of folders, and tables for names.
IDENTIFIERS = {
    *("dataset", "model", "compress", "teacher", "device", "precision"),
    *("config_hash", "variant_hash", "network_hash", "teacher_hash", "data_fingerprint", "artifact_sha256"),
}
FRACTIONS = {"accuracy", "ece", "agreement", "teacher_accuracy", "val_accuracy"}
DIVISORS = {"test_images", "size_bytes", "baseline_size_bytes"}  # which are never 0
RUN = re.compile(r".+-.+-seed\d+-([0-9a-f]{8})")  # the name of a run's folder ends in the `config_hash`
NAMES = [field.name for field in fields(Row)]
NUMBERS = [name for name, kind in _TYPES.items() if kind is not str and str not in get_args(kind)]


def write(row: Row, folder: Path) -> None:
    """Write `row` to `folder`/metrics.csv; the file is there whole or not at all."""
    durable.write(folder / FILE, as_csv(row))


def as_csv(row: Row) -> bytes:
    """Return `row` as a CSV file, under its own checksum.

    Raises `NotFinite` if a number is infinite or NaN, and `ValueError` for text that is not `allowed`:
    `read` would refuse both.
    """
    for name, value in asdict(row).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise NotFinite(f"{name} is {value}: the network has broken down, so there is no row")
        if value is not None and not allowed(name, value):
            raise ValueError(f"{name} is {value!r}, which a row may not hold")
    values = {name: "" if value is None else str(value) for name, value in asdict(row).items()}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*values, SEAL])
    writer.writerow([*values.values(), seal(values)])
    return text.getvalue().encode()


def seal(values: Mapping[str, str]) -> str:
    """Return the checksum of a row as its file says it, whatever the order of the columns."""
    return checksum(json.dumps(values, sort_keys=True))


def allowed(name: str, value: str | int | float) -> bool:
    """Whether `value` may stand in the column `name`.

    Texts are names in an identifier, and `checks.inert` elsewhere; numbers are finite, counts are such that a float
    can hold them, and fractions lie in [0, 1].
    """
    if isinstance(value, str):
        return NAME.fullmatch(value) is not None if name in IDENTIFIERS else inert(value)
    if isinstance(value, int):
        return (name in DIVISORS) <= value <= 2**53
    return math.isfinite(value) and (name not in FRACTIONS or 0 <= value <= 1)


def read(path: Path) -> Row:
    """Read one metrics.csv. Raises `DamagedFile`, with what is wrong, if it is not exactly what was written."""
    try:
        text = durable.read(path).decode()
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (DamagedFile, CannotRead, UnicodeDecodeError, csv.Error) as error:
        raise DamagedFile(f"{path}: cannot be read ({error})") from error
    if len(lines) != 2:
        raise DamagedFile(f"{path}: {max(len(lines) - 1, 0)} rows instead of one")
    header, values = lines
    missing = [name for name in [*NAMES, SEAL] if name not in header]
    if missing:
        raise DamagedFile(f"{path}: no column {missing[0]}")
    if len(header) != len(values):
        raise DamagedFile(f"{path}: {len(values)} values under {len(header)} columns")
    named = dict(zip(header, values, strict=True))
    if len(named) < len(header):
        raise DamagedFile(f"{path}: two columns of one name")
    if named.pop(SEAL) != seal(named):
        raise DamagedFile(f"{path}: altered since it was written (its checksum differs)")
    row = Row(**{name: _parse(path, name, named[name]) for name in NAMES})
    told = RUN.fullmatch(path.parent.name)
    if told and told[1] != row.config_hash:
        raise DamagedFile(f"{path}: it is the row of another run")
    return row


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
    if not allowed(name, value):
        raise DamagedFile(f"{path}: {name} is {text!r}, which no row of kdbench holds")
    return value
