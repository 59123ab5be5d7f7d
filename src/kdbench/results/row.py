"""One run, one row: the columns, and their way to CSV and back. Imports no torch."""

from __future__ import annotations

import csv
import io
import math
import os
import re
import types
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from kdbench.errors import CannotRead, DamagedFile, NotFinite
from kdbench.settings.checks import NAME, inert
from kdbench.storage import durable
from kdbench.storage.checksums import SUMS, checksum, parse_at, sums

FILE = "metrics.csv"
OWN_CHECKSUM = "row_sha256"  # a column of rows of version 0.1.0, whose SHA256SUMS does not name them


@dataclass(frozen=True)
class Row:
    """What one run measured, read off the file that ships. Empty fields are those that have no meaning there."""

    dataset: str
    model: str
    architecture: str  # the knobs of the model, as words such as model.widths=[256,128]
    recipe: str  # how it is trained, as words such as train.epochs=6
    weights: str | None  # of a network trained elsewhere that it started from: name and SHA-256 of the file
    origin: str | None  # of the network before its compression: "trained", "fine-tuned" from `weights`, or "given"
    compress: str
    settings: str  # the knobs of the compression
    teacher: str | None  # several are joined by +
    teacher_seed: int | None  # empty where several teachers have different seeds
    teacher_settings: str | None  # what of the teacher was set, as words such as teacher.train.epochs=3
    seed: int
    seeds_together: int | None  # how many seeds were trained as one; 1: alone
    accuracy: float  # fraction of the test images
    errors: int
    errors_by_class: str | None  # as words: 0=3 1=0
    test_images: int
    nll: float  # nats
    ece: float
    agreement: float | None  # with the teacher; for quantize and prune with the baseline
    teacher_kl: float | None  # nats; from the same network as `agreement`
    teacher_accuracy: float | None  # of the teacher's own file on the same test images
    transfer_images: int | None  # that it learned from under its teachers
    transfer_agreement: float | None  # with them, on 10,000 from all over a transfer set that was named
    transfer_kl: float | None  # nats; likewise
    transfer_nll: float | None  # likewise, where that has labels
    transfer_ece: float | None
    robust_accuracy: float | None  # of the test images after attacks on the network, read through the file
    robust_eps: float | None  # by which these move a pixel of [0, 1] at most
    val_accuracy: float | None  # of the last training epoch, before any change of the file
    file_val_accuracy: float | None  # of the file that ships, on the validation images
    parameters: int  # trainable
    nonzero_parameters: int  # as stored in the file
    macs: int  # multiply-adds for one image
    weight_bytes: int
    float_layers: str | None  # as words: the layers whose weights stayed float32 where those of others did not
    one_scale_layers: str | None  # as words: the layers whose whole numbers have one scale for all outputs
    size_bytes: int
    size_gzip_bytes: int
    packed_bytes: int | None  # of model.kdz
    payload_bytes: int | None  # of the numbers in it, without graph and header
    baseline_size_bytes: int
    teacher_size_bytes: int | None
    latency_ms: float | None  # batch 1, one thread, median; empty, like all times of the file, if others disturbed it
    latency_min_ms: float | None
    latency_p90_ms: float | None
    throughput: float | None  # images a second, batch 256
    speedup: float | None  # times faster than the same network uncompressed at batch 1, timed in turn
    speedup_low: float | None  # of the passes
    speedup_high: float | None
    throughput_ratio: float | None  # the same at batch 256
    throughput_ratio_low: float | None
    throughput_ratio_high: float | None
    cpu_share: float | None  # CPU time over wall time of the timed calls
    train_seconds: float  # everything that led to this network, its teacher's training not included
    train_cpu_seconds: float | None  # of all threads
    teacher_train_seconds: float | None
    teacher_train_cpu_seconds: float | None
    device: str
    precision: str
    threads: int  # of the throughput
    train_threads: int | None
    cpu: str
    cpu_family: int | None
    cpu_model: int | None
    cpu_capability: str  # the instruction set that torch uses
    kdbench_version: str
    python_version: str
    torch_version: str
    onnx_version: str
    onnxscript_version: str
    onnxruntime_version: str
    config_hash: str
    variant_hash: str  # shared by runs that differ in nothing but the seed
    network_hash: str  # shared by all treatments and seeds of one network
    teacher_hash: str | None  # the network_hash of the teacher
    code_hash: str | None  # of all code that decides the row
    data_fingerprint: str
    artifact_sha256: str  # of model.onnx beside it
    date: str  # when it was measured: UTC, ISO 8601 to the second

    @property
    def timed(self) -> bool:
        """Whether it was: a run whose times others disturbed is measured again when its command is typed again."""
        return self.latency_ms is not None


_TYPES = get_type_hints(Row)
# Texts that charts take for names of folders, and tables for names.
IDENTIFIERS = {
    *("dataset", "model", "compress", "teacher", "device", "precision"),
    *("config_hash", "variant_hash", "network_hash", "teacher_hash", "code_hash"),
    *("data_fingerprint", "artifact_sha256"),
}
FRACTIONS = {"accuracy", "ece", "agreement", "teacher_accuracy", "val_accuracy", "robust_accuracy", "robust_eps"}
FRACTIONS |= {"transfer_agreement", "transfer_ece", "file_val_accuracy"}
POSITIVE = {"test_images", "transfer_images", "size_bytes", "baseline_size_bytes", "seeds_together", "train_threads"}
POSITIVE |= {"packed_bytes"}
RUN = re.compile(r".+-.+-seed\d+-([0-9a-f]{8})")  # the name of a run's folder ends in the `config_hash`
NAMES = [field.name for field in fields(Row)]
NUMBERS = [name for name, kind in _TYPES.items() if kind is not str and str not in get_args(kind)]


def write(row: Row, folder: Path) -> None:
    """Write `row` to `folder`/metrics.csv, and SHA256SUMS beside it; each is there whole or not at all."""
    content = as_csv(row)
    with durable.drafted({folder / FILE: content, folder / SUMS: sums({FILE: content})}) as place:
        place()


def as_csv(row: Row) -> bytes:
    """Return `row` as a CSV file.

    Raises `NotFinite` if a number is infinite or NaN, and `ValueError` for text that is not `allowed`:
    `read` would refuse both.
    """
    for name, value in asdict(row).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise NotFinite(f"{name} is {value}: the network has broken down, so there is no row")
        if value is not None and not allowed(name, value):
            raise ValueError(f"{name} is {value!r}, which a row may not hold")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(NAMES)
    writer.writerow("" if value is None else str(value) for value in asdict(row).values())
    return text.getvalue().encode()


def allowed(name: str, value: str | int | float) -> bool:
    """Whether `value` may stand in the column `name`.

    Texts are names in an identifier (for several teachers, names joined by +), and `checks.inert` elsewhere; numbers
    are finite, counts are such that a float can hold them, and fractions lie in [0, 1].
    """
    if isinstance(value, str):
        if name not in IDENTIFIERS:
            return inert(value)
        names = value.split("+") if name == "teacher" else [value]
        return all(NAME.fullmatch(name) for name in names)
    if isinstance(value, int):
        return (name in POSITIVE) <= value <= 2**53
    return math.isfinite(value) and (name not in FRACTIONS or 0 <= value <= 1)


def may_be_empty(name: str) -> bool:
    """Whether a row may lack the column `name`: every column added after version 0.1.0 is one of these."""
    kind = _TYPES[name]
    return isinstance(kind, types.UnionType) or (kind is str and name not in IDENTIFIERS)


def read(path: Path) -> Row:
    """Read one metrics.csv, of this version or another: unknown columns are ignored, missing ones are empty.

    Raises `DamagedFile`, with what is wrong, if it is not what was written.
    """
    try:
        text = _content(path).decode()
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (CannotRead, UnicodeDecodeError, csv.Error) as error:
        raise DamagedFile(f"{path}: cannot be read ({error})", path) from error
    if len(lines) != 2:
        raise DamagedFile(f"{path}: {max(len(lines) - 1, 0)} rows instead of one", path)
    header, values = lines
    missing = [name for name in NAMES if name not in header and not may_be_empty(name)]
    if missing:
        raise DamagedFile(f"{path}: no column {missing[0]}", path)
    if len(header) != len(values):
        raise DamagedFile(f"{path}: {len(values)} values under {len(header)} columns", path)
    named = dict(zip(header, values, strict=True))
    if len(named) < len(header):
        raise DamagedFile(f"{path}: two columns of one name", path)
    row = Row(**{name: _parse(path, name, named.get(name, "")) for name in NAMES})
    run = RUN.fullmatch(path.parent.name)
    if run and run[1] != row.config_hash:
        raise DamagedFile(f"{path}: it is the row of another run", path)
    return row


def _content(path: Path) -> bytes:
    """Return the content of the file, which has the checksum that a SHA256SUMS beside it gives."""
    try:
        content = durable.read(path)
        known = parse_at(path.parent) if os.path.lexists(path.parent / SUMS) else {path.name: checksum(content)}
    except DamagedFile as error:
        raise DamagedFile(f"{path}: cannot be read ({error})", error.path or path) from error
    older = path.name not in known and OWN_CHECKSUM in content.partition(b"\n")[0].decode(errors="replace")
    if known.get(path.name) != checksum(content) and not older:
        raise DamagedFile(f"{path}: altered since it was written (its checksum is not the one in {SUMS})", path)
    return content


def _parse(path: Path, name: str, text: str) -> Any:
    kind = _TYPES[name]
    if isinstance(kind, types.UnionType):
        if text == "":
            return None
        kind = next(option for option in get_args(kind) if option is not types.NoneType)
    try:
        value = kind(text)
    except ValueError as error:
        raise DamagedFile(f"{path}: {name} is '{text}', not a number", path) from error
    if not allowed(name, value):
        raise DamagedFile(f"{path}: {name} is {text!r}, which no row of kdbench holds", path)
    return value
