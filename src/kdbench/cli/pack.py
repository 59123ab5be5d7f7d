"""`kdbench pack`: an ONNX file in as few bytes as it can be had back from. Imports no torch."""

from __future__ import annotations

import argparse
from pathlib import Path

from kdbench.cli.arguments import Subparsers
from kdbench.errors import BadSetting, DamagedFile

ABOUT = "an ONNX file as a packed one, which kdbench unpack makes the same network of"
ENDING = ".kdz"


def add(subparsers: Subparsers) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser("pack", help=ABOUT, description=ABOUT)
    parser.add_argument("file", type=Path, metavar="FILE.onnx")
    parser.add_argument("--to", type=Path, metavar="FILE.kdz", help="default: beside it")
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Pack, and say what that saves."""
    from kdbench.artifact.packing import kdz
    from kdbench.models import onnx_graph

    content = read(options.file, "such as the model.onnx of a run folder")
    try:
        onnx_graph.load(content)
        packed = kdz.pack(content)
        same = kdz.unpack(packed) == content
    except DamagedFile as error:
        raise DamagedFile(f"{options.file} cannot be packed: {error}") from error
    to = options.to or options.file.with_suffix(ENDING)
    write(to, packed)
    numbers = kdz.payload_bytes(packed)
    how = "" if same else "; unpacked it is the same network, written in another way"
    print(
        f"{to}: {len(packed):,} bytes, {len(content) / len(packed):.2f}x smaller than {options.file.name} "
        f"({len(content):,}); {numbers:,} of them are weights and other numbers{how}"
    )
    return 0


def read(path: Path, example: str) -> bytes:
    """Return the content of a file that was named. Raises `BadSetting` if there is none."""
    from kdbench.storage import durable

    if not path.is_file():
        raise BadSetting(f"there is no file {path}: name one, {example}")
    return durable.read(path)


def write(path: Path, content: bytes) -> None:
    """Write a file. Raises `BadSetting` if something else is there."""
    from kdbench.storage import durable

    if path.exists() and not (path.is_file() and path.read_bytes() == content):
        raise BadSetting(f"{path} is there already, and something else: name another by --to")
    durable.write(path, content)
