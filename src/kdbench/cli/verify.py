"""`kdbench verify`: is what a row says still what its file does?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from kdbench.cli.arguments import Subparsers, add_own_folder, own_folders, place
from kdbench.errors import KdbenchError, printable


def add(subparsers: Subparsers) -> None:
    """Add the command's parser."""
    about = "measure stored runs once more, and compare every figure"
    parser = subparsers.add_parser("verify", help=about, description=about)
    parser.add_argument(
        "folders", type=place, nargs="+", metavar="RUN_FOLDER", help="such as outputs/runs/mnist/NAME"
    )
    parser.add_argument("--retrain", action="store_true", help="also train them once more, and compare the weights")
    parser.add_argument("--root", type=Path, metavar="DIR", help="where the data files lie, if not where they lay")
    add_own_folder(parser)
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Compare, print figure by figure what differs, and return 1 if something does, or cannot be verified."""
    from kdbench.cli import terminal
    from kdbench.cli.comparison import compare

    own_folders(options)
    status = 0
    with terminal.warnings_shown():
        for folder in options.folders:
            if len(options.folders) > 1:
                print(f"{folder}:", flush=True)
            try:
                status |= compare(folder.resolve(), options.root, options.retrain)
            except (KdbenchError, OSError) as error:
                if len(options.folders) == 1:
                    raise
                print(f"error: {printable(f'{folder}: {error}')}", file=sys.stderr)
                status = 1
    return status
