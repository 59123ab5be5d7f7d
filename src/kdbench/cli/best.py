"""`kdbench best`: which variant to ship under limits of size, accuracy and time, and how. Imports no torch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kdbench.cli import limits
from kdbench.cli.arguments import Subparsers, add_folder
from kdbench.errors import BadSetting, nearest, printable

if TYPE_CHECKING:
    import pandas as pd

    from kdbench.results.best import Limit
    from kdbench.results.row import Row

ABOUT = "the variant to ship under limits of size, accuracy and time"
DESCRIPTION = """\
The best variant of the rows under FOLDER that keeps to the limits, and the command that makes its file. With
--min-accuracy that is the one with the smallest file, without it the most accurate one. Accuracy is that of the file
on the validation images, mean over seeds: the test images choose nothing, and are shown of what was chosen alone. If
no variant keeps to the limits, the nearest one is printed, and 1 returned.
"""
SIZES = {"kdz": "packed_bytes", "onnx": "size_bytes"}  # columns by the endings of files


def add(subparsers: Subparsers) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser("best", help=ABOUT, description=DESCRIPTION)
    add_folder(parser)
    parser.add_argument("--max-bytes", metavar="SIZE", help="such as 20kB, 1.5MB or 20KiB; bare numbers are bytes")
    parser.add_argument("--min-accuracy", metavar="SHARE", help="on validation, such as 0.99 or 99%%")
    parser.add_argument("--max-latency", metavar="TIME", help="for one image, such as 0.05ms or 50us; bare: ms")
    parser.add_argument(
        "--file",
        choices=SIZES,
        default="kdz",
        help="whose bytes count: model.kdz, which travels (default), or model.onnx, which runs",
    )
    parser.add_argument("--data", metavar="NAME", help="one data set, where there are rows of several")
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Choose, and print what, by what, and how it is made. Returns 1 if nothing keeps to the limits."""
    from kdbench.cli.best_in_words import figures, how, median, sentence, why_none
    from kdbench.cli.terminal import wrapped
    from kdbench.results.best import LATENCY, ranked, typical
    from kdbench.results.collect import by_folder
    from kdbench.results.summary import frame, pool, summarise

    size, asked = SIZES[options.file], limits_of(options)
    found, damaged = by_folder(options.folder)
    for message in damaged:
        print(f"skipped {message}", file=sys.stderr)
    data, members = of_one_data_set([*found.values()], options.data)
    runs = frame(with_figures(members, size, options.folder))
    means = summarise(runs)
    untimed = means[LATENCY].isna().sum()
    if options.max_latency is not None and untimed:
        print(f"no times on {means['machine'][0]}: {untimed} of {len(means)} variants", file=sys.stderr)
    lines = ranked(means, size, asked)
    best = lines.iloc[0]
    fits = best["excess"] == 0
    if fits:
        print(wrapped(printable(sentence(data, size, asked, len(means), len(lines)))))
    else:
        print(f"error: {printable(why_none(means, best, asked))}", file=sys.stderr)
        print(f"the nearest of {data}, by how far it is beyond:")
    print("\n".join(wrapped(f"  {printable(line)}", indent=15) for line in figures(best, tested=bool(fits))))
    one, keeps = typical(pool(runs), best, asked)
    which = "" if best["seeds"] == 1 else median(one, keeps) if asked and fits else median(one)
    folder = folder_of(one, found)
    print("\n" + "\n".join(how(folder, found[folder], which)))
    return int(bool(damaged) or not fits)


def limits_of(options: argparse.Namespace) -> list[Limit]:
    """Return the limits that were typed. Raises `BadSetting` for what is none."""
    from kdbench.results.best import LATENCY, VALIDATION, Limit

    readers = {
        "--max-bytes": (options.max_bytes, SIZES[options.file], limits.bytes_of),
        "--min-accuracy": (options.min_accuracy, VALIDATION, limits.fraction_of),
        "--max-latency": (options.max_latency, LATENCY, limits.milliseconds_of),
    }
    return [
        Limit(f"{name} {typed}", column, read(name, typed))
        for name, (typed, column, read) in readers.items()
        if typed is not None
    ]


def of_one_data_set(rows: Sequence[Row], name: str | None) -> tuple[str, list[Row]]:
    """Return the name of a data set, and its rows. Raises `BadSetting` if there are several, or none of that name."""
    from kdbench.results.collect import by_dataset

    datasets = by_dataset(rows)
    if name is None and len(datasets) > 1:
        typed = " or ".join(f"--data {one}" for one in datasets)
        raise BadSetting(f"there are rows of {len(datasets)} data sets, which are never compared: type {typed}")
    if name is not None and name not in datasets:
        raise BadSetting(f"--data {name}: there is no row of it: {nearest(name, datasets)}")
    chosen = name or next(iter(datasets))
    return chosen, datasets[chosen]


def with_figures(rows: Sequence[Row], size: str, folder: Path) -> list[Row]:
    """Return the rows that can be chosen from, and say which cannot. Raises `BadSetting` if none can."""
    from kdbench.results.best import VALIDATION

    left = list(rows)
    for column in (VALIDATION, size):
        known = [row for row in left if getattr(row, column) is not None]
        again = f"type their commands again, which kdbench status {folder} lists"
        if not known:
            raise BadSetting(
                f"no row of {rows[0].dataset} has {column}, which earlier versions did not measure: {again}"
            )
        if len(known) < len(left):
            count = len(left) - len(known)
            rows_have = "1 row of an earlier version has" if count == 1 else f"{count} rows of earlier versions have"
            print(f"left out: {rows_have} no {column}: {again}", file=sys.stderr)
        left = known
    return left


def folder_of(one: pd.Series, found: Mapping[Path, Row]) -> Path:
    """Return the folder of the run that a line of `pool` is of, the latest one if there are several."""
    from kdbench.results.summary import VARIANT, machine

    def is_it(row: Row) -> bool:
        return row.seed == one["seed"] and all((getattr(row, name) or "") == one[name] for name in VARIANT)

    same = [folder for folder, row in found.items() if is_it(row)]
    return max(same, key=lambda folder: (machine(found[folder]) == one["machine"], found[folder].date))
