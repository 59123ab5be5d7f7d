"""`kdbench unpack`: the ONNX file that was packed. Imports no torch."""

from __future__ import annotations

import argparse
from pathlib import Path

from kdbench.cli.arguments import Subparsers
from kdbench.cli.pack import read, write
from kdbench.errors import DamagedFile

ABOUT = "the ONNX file of a packed one, such as the model.kdz of a run folder"
ENDING = ".onnx"


def add(subparsers: Subparsers) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser("unpack", help=ABOUT, description=ABOUT)
    parser.add_argument("file", type=Path, metavar="FILE.kdz")
    parser.add_argument("--to", type=Path, metavar="FILE.onnx", help="default: beside it")
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Unpack."""
    from kdbench.artifact.packing import kdz

    try:
        content = kdz.unpack(read(options.file, "such as the model.kdz of a run folder"))
    except DamagedFile as error:
        raise DamagedFile(f"{options.file} cannot be unpacked: {error}") from error
    to = options.to or options.file.with_suffix(ENDING)
    write(to, content)
    print(f"{to}: {len(content):,} bytes")
    return 0
