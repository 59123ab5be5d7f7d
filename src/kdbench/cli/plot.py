"""`kdbench plot`: every chart of the rows under a folder, as PNG and SVG, and their table. Imports no torch."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kdbench.cli.arguments import Subparsers, add_folder

if TYPE_CHECKING:
    from kdbench.results.row import Row

KINDS = ("png", "svg")
TABLE = "compression_table"


def add(subparsers: Subparsers) -> None:
    """Add the command's parser."""
    about = "comparison charts (PNG and SVG) from the rows under FOLDER, and their table (Markdown, CSV and LaTeX)"
    parser = subparsers.add_parser("plot", help=about, description=about)
    add_folder(parser)
    parser.add_argument("--to", type=Path, metavar="DIR", help="where the charts go (default: FOLDER/plots)")
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Draw the charts; name charts whose rows are missing on stderr, and damaged rows, for which 1 is returned."""
    from kdbench.results.collect import by_dataset, collect

    rows, damaged = collect(options.folder)
    for message in damaged:
        print(f"skipped {message}", file=sys.stderr)
    target = options.to or options.folder / "plots"
    datasets = by_dataset(rows)
    for dataset, members in datasets.items():
        # Rows of different data never share a chart; with one data set there is no need for a folder each.
        alone = len(datasets) == 1
        place = target if alone else target / dataset
        other = target / dataset if alone else target
        draw_all(members, place, other, options.folder)
        tabulate(members, place, other)
    return 1 if damaged else 0


def tabulate(rows: Sequence[Row], folder: Path, other: Path) -> None:
    """Write the table of all methods beside the charts, the CSV with every column; none of earlier rows stays."""
    from kdbench.results import table, table_csv, table_latex
    from kdbench.results.lines import shown
    from kdbench.results.table_columns import COMPRESSION
    from kdbench.storage import durable

    kinds = {
        "md": table.markdown(rows, COMPRESSION) + "\n",
        "csv": table_csv.csv_text(rows),
        "tex": table_latex.latex(rows) + "\n",
    }
    for kind, content in kinds.items():
        (other / f"{TABLE}.{kind}").unlink(missing_ok=True)
        durable.write(folder / f"{TABLE}.{kind}", content.encode())
    print(f"{shown((folder / TABLE).absolute())}.md .csv .tex")


def draw_all(
    rows: Sequence[Row],
    folder: Path,
    other: Path,
    source: Path | None,
    only: Sequence[str] = (),
    called: Mapping[str, str] | None = None,
) -> None:
    """Draw every chart of the rows of one data set, which lie under `source`, into `folder`; say what was drawn.

    And what was not, with the command that makes its rows, unless `source` is None. `only` names some of the charts;
    `called` are names of runs, by `config_hash`.

    Charts of earlier rows do not stay: neither those that cannot be drawn any more, nor those in `other`, where
    they were put when there were more or fewer data sets.
    """
    import matplotlib

    matplotlib.use("agg")
    from kdbench.cli.advice import missing
    from kdbench.plots import (
        accuracy_vs_size,
        distillation_impact,
        fidelity,
        generations,
        latency_vs_accuracy,
        pareto,
        pruning_curves,
        pruning_impact,
        quantization_curves,
        quantization_impact,
        structured_curves,
        teacher_vs_student,
        temperature,
        transfer_curve,
    )
    from kdbench.results.lines import shown
    from kdbench.results.summary import frame
    from kdbench.storage import durable

    runs = frame(rows, called)
    durable.folder(folder)
    durable.sweep(folder, "*", older_than=durable.ABANDONED_SECONDS)
    of_methods = (distillation_impact, teacher_vs_student, fidelity, quantization_impact, pruning_impact)
    # What is left out without a word: these lack rows where accuracy_vs_size does, or nothing was timed or packed ...
    of_costs = (latency_vs_accuracy, pareto)
    # ... and few people want these.
    of_series = (temperature, transfer_curve, generations, pruning_curves, structured_curves, quantization_curves)
    for chart in (accuracy_vs_size, *of_costs, *of_methods, *of_series):
        name = chart.__name__.rpartition(".")[2]
        if only and name not in only:
            continue
        figure = chart.draw(runs)
        for place in (folder, other) if figure is None else (other,):
            for kind in KINDS:
                (place / f"{name}.{kind}").unlink(missing_ok=True)
        if figure is None:
            if source is not None and chart not in (*of_costs, *of_series):
                print(f"skipped {name}: {missing(rows, chart.METHODS, source)}", file=sys.stderr)
            continue
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once, not again for each file
        for kind in KINDS:
            drawn = io.BytesIO()
            figure.savefig(drawn, format=kind, dpi=160)
            durable.write(folder / f"{name}.{kind}", drawn.getvalue())
        print(f"{shown((folder / name).absolute())}.png .svg")
