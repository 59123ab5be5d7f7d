"""The result table, as text for a terminal or as Markdown for a page. Imports no torch."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from kdbench.results.collect import by_dataset
from kdbench.results.row import Row
from kdbench.results.summary import disturbed, frame, machines, summarise, taught_by_no_better
from kdbench.results.table_columns import COLUMNS, FOOTNOTES, Column

BETWEEN = "  "  # columns
INDENT = "    "  # of figures below the name that they are of
SHORTEST = 16  # characters of a name that is shortened
WANTED = 5  # the highest rank of the columns that names leave room for, if they can


@dataclass(frozen=True)
class Table:
    """The variants of one data set: what they have in common, and their cells, a line a variant."""

    caption: str
    columns: Sequence[Column]
    cells: list[list[str]]

    @property
    def footnotes(self) -> list[str]:
        """What is to be said of marks in the cells."""
        words = {word for line in self.cells for cell in line for word in cell.split()}
        return [f"{mark} {note}" for mark, note in FOOTNOTES.items() if mark in words]

    @property
    def widths(self) -> list[int]:
        """How many characters each column takes."""
        headers = [column.header for column in self.columns]
        return [max(map(len, cells)) for cells in zip(headers, *self.cells, strict=True)]

    def only(self, kept: Sequence[int]) -> Table:
        """Return the table of these of its columns."""
        columns = [self.columns[number] for number in kept]
        return Table(self.caption, columns, [[line[number] for number in kept] for line in self.cells])

    def shortened(self, length: int) -> Table:
        """Return the table in which no words are longer than so many characters: the middle of those is left out."""

        def short(cell: str, column: Column) -> str:
            if len(cell) <= length or column.right:
                return cell
            end = (length + 1) // 2 - 1
            return f"{whole_numbers(cell, length // 2)}…{whole_numbers(cell[::-1], end)[::-1]}"

        return Table(self.caption, self.columns, [[*map(short, line, self.columns)] for line in self.cells])

    def fitted(self, width: int) -> Table:
        """Return the table with names as long as they leave room for the first columns, and no two lines alike."""
        wanted = {number for number, column in enumerate(self.columns) if column.rank <= WANTED}
        fitting = self
        for length in range(width, SHORTEST - 1, -1):
            shorter = self.shortened(length)
            if shorter.different_lines < self.different_lines:
                break
            fitting = shorter
            kept = having_room(shorter, width)
            if wanted <= {*kept} and sum(shorter.widths[number] + len(BETWEEN) for number in kept) - 2 <= width:
                break
        return fitting

    @property
    def different_lines(self) -> int:
        """How many lines differ in their names."""
        named = [number for number, column in enumerate(self.columns) if not column.right]
        return len({tuple(line[number] for number in named) for line in self.cells})


def whole_numbers(cell: str, length: int) -> str:
    """Return the beginning of a cell, without a number that would lose digits, and be another."""
    digits = "0123456789."
    start = cell[:length]
    return start.rstrip(digits) if cell[length] in digits else start


def text(rows: Sequence[Row], width: int | None = None) -> str:
    """Return one aligned table a data set; with a `width` in characters, those columns that have room."""
    return "\n\n".join(_aligned(table, width) for table in tables(rows))


def markdown(rows: Sequence[Row], columns: Sequence[Column] = COLUMNS) -> str:
    """Return one Markdown table a data set."""
    parts = []
    for table in tables(rows, columns):
        rule = ["---:" if column.right else "---" for column in table.columns]
        header = [column.header for column in table.columns]
        lines = [header, rule, *([*map(plain, line)] for line in table.cells)]
        body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        parts.append("\n\n".join([plain(table.caption), body, *map(plain, table.footnotes)]))
    return "\n\n".join(parts)


def plain(text: str) -> str:
    """Return Markdown that shows `text`: what somebody else wrote makes no link, no image and no list."""
    return text.replace("[", "\\[").replace("]", "\\]").replace("*", "\\*")


def tables(rows: Sequence[Row], columns: Sequence[Column] = COLUMNS) -> list[Table]:
    """Return the table of each data set: a line for each variant, and those of `columns` in which there is anything.

    What several machines found is averaged, but for times: those cells hold one value a machine, in the order in
    which the caption names them.
    """
    made = []
    for dataset, members in by_dataset(rows).items():
        runs = frame(members)
        places = machines(runs)
        # The same lines in the same order for each, with its own times.
        means = [
            one.assign(disturbed=disturbed(one), weak_teacher=taught_by_no_better(one))
            for one in (summarise(runs, place) for place in places)
        ]
        seeds = sorted(set(means[0]["seeds"]))
        counted = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        plural = "" if seeds[-1] == 1 else "s; mean ± standard deviation"
        trained = ", ".join(sorted({f"{row.precision} on {row.device}" for row in members}))
        there = f"{trained}; {' / '.join(places)}"
        caption = f"{dataset}, {members[0].test_images} test images, {counted} seed{plural} ({there})"
        variants = zip(*(mean.to_dict("records") for mean in means), strict=True)
        cells = [[column.cell([*map(pd.Series, variant)]) for column in columns] for variant in variants]
        filled = [number for number, column in enumerate(zip(*cells, strict=True)) if any(column)]
        made.append(Table(caption, columns, cells).only(filled))
    return made


def having_room(table: Table, width: int) -> list[int]:
    """Return the numbers of the columns that fit side by side, those of low ranks first, in their own order."""
    left = width + len(BETWEEN)
    kept = []
    for number in sorted(range(len(table.columns)), key=lambda number: table.columns[number].rank):
        needed = table.widths[number] + len(BETWEEN)
        if needed <= left or table.columns[number].rank == 0:
            kept.append(number)
            left -= needed
    return sorted(kept)


def _aligned(table: Table, width: int | None) -> str:
    if width is None:
        return _framed(table, table, _lines(table), None)
    fitted = table.fitted(width)
    shown = fitted.only(having_room(fitted, width))
    if all(column in shown.columns for column in table.columns if column.rank <= WANTED):
        return _framed(table, shown, _lines(shown), width)
    # Long names would leave no room for figures: each line of these stands below its name.
    figures = table.only([number for number, column in enumerate(table.columns) if not column.is_name])
    shown = figures.only(having_room(figures, width - len(INDENT)))
    names = table.only([number for number, column in enumerate(table.columns) if column.is_name])
    header, *below = [INDENT + line for line in _lines(shown)]
    above = [_wrapped(BETWEEN.join(line), width) for line in names.cells]
    lines = [header, *(line for name, row in zip(above, below, strict=True) for line in (*name, row))]
    return _framed(figures, shown, lines, width)


def _lines(table: Table) -> list[str]:
    """Return the header and a line for each variant, their columns below each other."""
    return [
        BETWEEN.join(map(Column.padded, table.columns, line, table.widths)).rstrip()
        for line in [[column.header for column in table.columns], *table.cells]
    ]


def _framed(table: Table, shown: Table, lines: Sequence[str], width: int | None) -> str:
    """Return the lines of what is `shown` of a table, under its caption and over its notes."""
    notes = shown.footnotes
    left_out = [column.header for column in table.columns if column not in shown.columns]
    if left_out:
        notes.append(f"left out: {', '.join(left_out)}; a wider terminal has them, and --markdown and --csv")
    rule = "-" * max(map(len, lines))
    parts = [*_wrapped(table.caption, width), lines[0], rule, *lines[1:]]
    return "\n".join(parts + [line for note in notes for line in _wrapped(note, width)])


def _wrapped(text: str, width: int | None) -> list[str]:
    return [text] if width is None else textwrap.wrap(text, width, subsequent_indent=BETWEEN)
