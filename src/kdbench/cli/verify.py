"""`kdbench verify`: is what a row says still what its file does?"""

from __future__ import annotations

import argparse
from pathlib import Path

from kdbench.cli.arguments import Subparsers, add_own_folder, own_folders


def add(subparsers: Subparsers) -> None:
    """Add the command's parser."""
    about = "measure a stored run once more, and compare every figure"
    parser = subparsers.add_parser("verify", help=about, description=about)
    parser.add_argument("folder", type=Path, metavar="RUN_FOLDER", help="such as outputs/runs/mnist/NAME")
    parser.add_argument("--retrain", action="store_true", help="also train it once more, and compare the weights")
    parser.add_argument("--root", type=Path, metavar="DIR", help="where the data files lie, if not where they lay")
    add_own_folder(parser)
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Compare, print figure by figure what differs, and return 1 if something does."""
    from kdbench.cli import terminal
    from kdbench.cli.comparison import compare

    own_folders(options)
    with terminal.warnings_shown():
        return compare(options.folder.resolve(), options.root, options.retrain)
