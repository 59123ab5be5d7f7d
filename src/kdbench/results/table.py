"""The result table, as text for a terminal or as Markdown for a page. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from kdbench.results.collect import by_dataset
from kdbench.results.lines import size
from kdbench.results.row import Row
from kdbench.results.summary import frame, summarise

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
    """Return a caption and the cells of each data set's table."""
    made = []
    for dataset, members in by_dataset(rows).items():
        means = summarise(frame(members))
        machines = sorted({f"{row.cpu}, {row.threads} threads, {row.precision} on {row.device}" for row in members})
        seeds = sorted(set(means["seeds"]))
        counted = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        plural = "" if seeds[-1] == 1 else "s; mean ± standard deviation"
        caption = f"{dataset}, {members[0].test_images} test images, {counted} seed{plural} ({'; '.join(machines)})"
        made.append((caption, [_cells(line) for _, line in means.iterrows()]))
    return made


def _cells(line: pd.Series) -> list[str]:
    spread = "" if pd.isna(line.accuracy_std) else f" ± {line.accuracy_std:.2%}"[:-1]
    return [
        line["name"],
        line.label,
        line.teacher,
        f"{line.accuracy:.2%}"[:-1] + spread,
        f"{line.errors:.0f}" if line.seeds == 1 else f"{line.errors:.1f}",
        "" if pd.isna(line.agreement) else f"{line.agreement:.2%}"[:-1],
        f"{line.nonzero_parameters:,.0f}",
        f"{line.macs / 1e6:.3g}M",
        size(line.size_bytes),
        f"{line.baseline_size_bytes / line.size_bytes:.2f}x",
        size(line.size_gzip_bytes),
        f"{line.latency_ms:.3f}",
        f"{line.throughput:,.0f}",
        f"{line.train_seconds:.0f}",
        "" if pd.isna(line.teacher_train_seconds) else f"{line.teacher_train_seconds:.0f}",
    ]


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
