"""`scripts/benchmark/coders`: the files of runs, packed without loss by kdbench and by other coders."""

from __future__ import annotations

import argparse
import contextlib
import gzip
import importlib
import io
import lzma
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper

from kdbench.artifact.packing import graph, kdz, numbers
from kdbench.artifact.packing.symbols import Writer
from kdbench.errors import KdbenchError
from kdbench.models import onnx_graph
from kdbench.results.run_folder import ARTIFACT, read_whole

ROUNDS = 5  # of packing and unpacking, whose fastest counts
PEERS = ("zstandard", "brotli")
NNCODEC = "nncodec --no-deps; then h5py, ptflops, scikit-learn and opencv-python-headless, which it imports"
INTEGERS = tuple(kind for kind in numbers.BITS if "INT" in TensorProto.DataType.Name(kind))


@dataclass(frozen=True)
class Packed:
    """A file in bytes: as it is, by each coder, and of its tensors of whole numbers alone by kdbench and NNCodec."""

    name: str
    size: int
    by: dict[str, int]
    integers: tuple[int, int | None] | None  # None: it has none; NNCodec rounds floats, so those are no contest
    pack_s: float  # of the CPU
    unpack_s: float


def main() -> int:
    """Print the table of these runs, and return the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark/coders", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of runs, outputs/runs/DATA/RUN")
    asked = parser.parse_args()
    if wanting := [name for name in PEERS if not there(name)]:
        print(f"error: peers are missing: type {sys.executable} -m pip install {' '.join(wanting)}", file=sys.stderr)
        return 1
    if not there("nncodec"):
        print(f"without nncodec: for its column type {sys.executable} -m pip install {NNCODEC}", file=sys.stderr)
    try:
        rows = [(read_whole(folder), (folder / ARTIFACT).read_bytes()) for folder in asked.runs]
    except KdbenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(table([packed(f"{row.model} {row.compress}", content) for row, content in rows]))
    return 0


def there(module: str) -> bool:
    """Whether a module can be imported."""
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def packed(name: str, content: bytes) -> Packed:
    """Return the figures of one ONNX file."""
    small, pack_s = fastest(lambda: kdz.pack(content))
    back, unpack_s = fastest(lambda: kdz.unpack(small))
    if back != content:
        print(f"{name}: comes back as the same network, written in another way", file=sys.stderr)
    by = {"kdz": len(small), **{coder: len(work(content)) for coder, work in coders().items()}}
    by["planes + xz"] = len(small) - kdz.payload_bytes(small) + len(xz(planes(onnx_graph.parsed(content))))
    return Packed(name, len(content), by, whole_numbers(onnx_graph.parsed(content)), pack_s, unpack_s)


def fastest(work: Callable[[], bytes]) -> tuple[bytes, float]:
    """Return what `work` returns, and the CPU seconds of its fastest round: it has one thread."""
    seconds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        result = work()
        seconds.append(time.process_time() - began)
    return result, min(seconds)


def coders() -> dict[str, Callable[[bytes], bytes]]:
    """Return the coders for any bytes, each at its most thorough."""
    import brotli
    import zstandard

    return {
        "gzip -9": lambda content: gzip.compress(content, 9, mtime=0),
        "zstd -19": zstandard.ZstdCompressor(level=19).compress,
        "zstd --ultra -22": zstandard.ZstdCompressor(level=22).compress,
        "brotli -q 11": lambda content: brotli.compress(content, quality=11),
        "xz -9e": xz,
    }


def xz(content: bytes) -> bytes:
    """Return what `xz -9e` makes of it."""
    return lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)


def planes(file: ModelProto) -> bytes:
    """Return the numbers of a file as kdbench gives them to its coder: all highest bytes of a tensor first."""
    _, tensors = graph.apart(graph.canonical(file))
    parts = [numbers.split(tensor.raw_data, graph.form_of(tensor)) for tensor in tensors]
    return b"".join(np.ascontiguousarray(part.T).tobytes() for part in parts)


def whole_numbers(file: ModelProto) -> tuple[int, int | None] | None:
    """Return how many bytes the whole numbers of a file take by kdbench's coder, and by NNCodec's if that is here."""
    _, tensors = graph.apart(graph.canonical(file))
    whole = [tensor for tensor in tensors if tensor.data_type in INTEGERS]
    if not whole:
        return None
    writer = Writer()
    for tensor in whole:
        numbers.write(writer, tensor.raw_data, graph.form_of(tensor))
    theirs = nncodec([numpy_helper.to_array(tensor) for tensor in whole]) if there("nncodec") else None
    return len(writer.content()), theirs


def nncodec(tensors: Sequence[np.ndarray]) -> int:
    """Return the bytes of these whole numbers by DeepCABAC (ISO/IEC 15938-17), of which they come back as they were.

    It expects 0 most of all, so each tensor is shifted by its most frequent number, which is not counted.
    """
    from nncodec.nn import decode, encode

    given = {}
    for number, tensor in enumerate(tensors):
        found, counts = np.unique(tensor.astype(np.int32), return_counts=True)
        given[f"{number}.weight"] = np.ascontiguousarray(tensor.astype(np.int32) - found[counts.argmax()])
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        stream = encode(given, {"results": folder})  # where it also writes a file
        back = decode(stream)
    assert all(np.array_equal(back[name].reshape(given[name].shape), given[name]) for name in given)
    return len(stream)


def table(files: Sequence[Packed]) -> str:
    """Return a Markdown table, a row a file."""
    titles = ["file", "bytes", *files[0].by, "integers: kdz", "nncodec", "pack", "unpack"]
    lines = [f"| {' | '.join(titles)} |", f"| --- |{' ---: |' * (len(titles) - 1)}"]
    for file in files:
        ours, theirs = file.integers or (None, None)
        figures = [file.size, *file.by.values(), ours, theirs]
        times = [f"{1e3 * seconds:.0f} ms" for seconds in (file.pack_s, file.unpack_s)]
        cells = [file.name, *("" if figure is None else f"{figure:,}" for figure in figures), *times]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
