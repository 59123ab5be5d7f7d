"""`kdbench table`: the rows under a folder as one table. Imports no torch."""

from __future__ import annotations

import argparse
import sys

from kdbench.cli.arguments import Subparsers, add_folder


def add(subparsers: Subparsers) -> None:
    """Add the command's parser."""
    about = "the rows under FOLDER as one table, means over seeds"
    parser = subparsers.add_parser("table", help=about, description=about)
    add_folder(parser)
    parser.add_argument("--markdown", action="store_true", help="as Markdown, for a page")
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Print the table; name damaged rows on stderr, and return 1 if there are any."""
    from kdbench.results import table
    from kdbench.results.collect import collect

    rows, damaged = collect(options.folder)
    for message in damaged:
        print(f"skipped {message}", file=sys.stderr)
    print(table.markdown(rows) if options.markdown else table.text(rows))
    return 1 if damaged else 0
