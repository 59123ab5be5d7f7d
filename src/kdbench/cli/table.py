"""`kdbench table`: the rows under a folder as one table. Imports no torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from kdbench.cli.arguments import Arguments


def main(arguments: Sequence[str]) -> int:
    """Print the table; name damaged rows on stderr, and return 1 if there are any."""
    parser = Arguments(prog="kdbench table", description="The rows under FOLDER, means over seeds.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("outputs"), metavar="FOLDER")
    parser.add_argument("--markdown", action="store_true", help="as Markdown, for a page")
    options = parser.parse_args(arguments)

    from kdbench.results import table
    from kdbench.results.collect import collect

    rows, damaged = collect(options.folder)
    for message in damaged:
        print(f"skipped {message}", file=sys.stderr)
    print(table.markdown(rows) if options.markdown else table.text(rows))
    return 1 if damaged else 0
