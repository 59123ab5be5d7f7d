"""The result table as LaTeX, for a paper. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from kdbench.results.row import Row
from kdbench.results.table import Table, tables
from kdbench.results.table_columns import COMPRESSION

PACKAGES = r"""% \usepackage{array,booktabs,longtable}
% It fits a page after \footnotesize\setlength{\tabcolsep}{3pt} and \usepackage[landscape,margin=15mm]{geometry}."""
LONG = 24  # characters of a text from which on its column is one of paragraphs
PARAGRAPHS = r">{\raggedright\arraybackslash}p{0.14\linewidth}"
# One character after another, so that nothing is escaped twice.
ESCAPES = {
    "\\": r"\textbackslash{}",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "[": "{[}",  # at the beginning of a line it would be an argument of the end of the line before
    "]": "{]}",
    "±": r"$\pm$",
    "†": r"\textdagger{}",
    "←": r"$\leftarrow$",
    "…": r"\ldots{}",
}


def latex(rows: Sequence[Row]) -> str:
    """Return one table a data set, of the columns of `COMPRESSION`: all would be wider than a page."""
    return "\n\n".join([PACKAGES, *(_table(table) for table in tables(rows, COMPRESSION))])


def escaped(text: str) -> str:
    """Return LaTeX that shows `text` as it is."""
    return "".join(ESCAPES.get(character, character) for character in text)


def _table(table: Table) -> str:
    sides = [_side(column.right, [line[place] for line in table.cells]) for place, column in enumerate(table.columns)]
    networks = [[*lines] for _, lines in groupby(table.cells, key=lambda line: line[0])]
    body = "\n\\addlinespace\n".join("\n".join(map(_line, lines)) for lines in networks)
    notes = [f"\\multicolumn{{{len(sides)}}}{{l}}{{{escaped(note)}}} \\\\" for note in table.footnotes]
    return "\n".join(
        [
            rf"\begin{{longtable}}{{{''.join(sides)}}}",
            rf"\caption{{{escaped(table.caption)}}} \\",
            r"\toprule",
            _line([column.header for column in table.columns]),
            r"\midrule",
            r"\endhead",
            r"\bottomrule",
            r"\endfoot",
            body,
            *notes,
            r"\end{longtable}",
        ]
    )


def _side(right: bool, texts: Sequence[str]) -> str:
    """Return how LaTeX sets a column: text that is long in several lines, so that the numbers stay on the page."""
    if right:
        return "r"
    return PARAGRAPHS if max(map(len, texts), default=0) > LONG else "l"


def _line(cells: Sequence[str]) -> str:
    return " & ".join(map(escaped, cells)) + r" \\"
