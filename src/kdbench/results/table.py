"""The result table, as text for a terminal or as Markdown for a page. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from kdbench.results.collect import by_dataset
from kdbench.results.lines import size
from kdbench.results.row import Row
from kdbench.results.summary import frame, machines, summarise

HEADER = [
    "model",
    "method",
    "teacher",
    "accuracy %",
    "errors",
    "agreement %",
    "nonzero",
    "MACs",
    "file",
    "smaller",
    "gzip",
    "ms/image",
    "images/s",
    "train s",
    "teacher s",
]
TEXT_COLUMNS = 3


def text(rows: Sequence[Row]) -> str:
    """Return one aligned table a data set."""
    return "\n\n".join(_aligned(caption, lines) for caption, lines in tables(rows))


def markdown(rows: Sequence[Row]) -> str:
    """Return one Markdown table a data set."""
    parts = []
    for caption, lines in tables(rows):
        rule = ["---"] * TEXT_COLUMNS + ["---:"] * (len(HEADER) - TEXT_COLUMNS)
        body = [
            "| " + " | ".join(cells) + " |" for cells in [HEADER, rule, *([*map(plain, cells)] for cells in lines)]
        ]
        parts.append(f"{plain(caption)}\n\n" + "\n".join(body))
    return "\n\n".join(parts)


def plain(text: str) -> str:
    """Return Markdown that shows `text`: brackets of somebody else make no link and no image."""
    return text.replace("[", "\\[").replace("]", "\\]")


def tables(rows: Sequence[Row]) -> list[tuple[str, list[list[str]]]]:
    """Return a caption and the cells of each data set's table: a line for each variant.

    What several machines found is averaged, but for times: those cells hold one value a machine, in the order in
    which the caption names them.
    """
    made = []
    for dataset, members in by_dataset(rows).items():
        runs = frame(members)
        places = machines(runs)
        # The same lines in the same order for each, with its own times.
        means = [summarise(runs, place) for place in places]
        seeds = sorted(set(means[0]["seeds"]))
        counted = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        plural = "" if seeds[-1] == 1 else "s; mean ± standard deviation"
        trained = ", ".join(sorted({f"{row.precision} on {row.device}" for row in members}))
        there = f"{trained}; {' / '.join(places)}"
        caption = f"{dataset}, {members[0].test_images} test images, {counted} seed{plural} ({there})"
        lines = zip(*(mean.to_dict("records") for mean in means), strict=True)
        made.append((caption, [_cells(*map(pd.Series, line)) for line in lines]))
    return made


def _cells(line: pd.Series, *elsewhere: pd.Series) -> list[str]:
    """Return the cells of one variant, as each machine gives it; only the times differ."""
    times = [line, *elsewhere]
    spread = "" if pd.isna(line.accuracy_std) else f" ± {line.accuracy_std:.2%}"[:-1]
    return [
        line["name"],
        line.label,
        line.teacher,
        f"{line.accuracy:.2%}"[:-1] + spread,
        f"{line.errors:.0f}" if line.seeds == 1 and line.errors % 1 == 0 else f"{line.errors:.1f}",
        "" if pd.isna(line.agreement) else f"{line.agreement:.2%}"[:-1],
        f"{line.nonzero_parameters:,.0f}",
        f"{line.macs / 1e6:.3g}M" if line.macs < 1e9 else f"{line.macs / 1e9:.3g}G",
        size(line.size_bytes),
        f"{line.baseline_size_bytes / line.size_bytes:.2f}x",
        size(line.size_gzip_bytes),
        _each([time.latency_ms for time in times], ".3f"),
        _each([time.throughput for time in times], ",.0f"),
        _each([time.train_seconds for time in times], ".0f"),
        _each([time.teacher_train_seconds for time in times], ".0f"),
    ]


def _each(values: Sequence[float], form: str) -> str:
    """Return one value a machine, "-" where it has none; nothing where no machine has one."""
    if all(map(pd.isna, values)):
        return ""
    return " / ".join("-" if pd.isna(value) else f"{value:{form}}" for value in values)


def _aligned(caption: str, lines: list[list[str]]) -> str:
    widths = [max(len(cells[column]) for cells in [HEADER, *lines]) for column in range(len(HEADER))]
    shown = []
    for cells in [HEADER, *lines]:
        padded = [
            cell.ljust(width) if column < TEXT_COLUMNS else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        shown.append("  ".join(padded).rstrip())
    return "\n".join([caption, shown[0], "-" * len(shown[0]), *shown[1:]])
