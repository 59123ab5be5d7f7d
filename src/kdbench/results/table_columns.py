"""What stands in the columns of the result table. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from kdbench.results.lines import seconds, size

DISTURBED = "*"  # in the place of a time
WEAK = "†"  # beside a teacher
SEEN = 0.0005  # the share of a mean from which on a standard deviation shows in three digits of it
FOOTNOTES = {
    DISTURBED: "not timed: others had the processor too",
    WEAK: "a teacher that is no better than its student is without it",
}
Line = Sequence[pd.Series]  # one variant, as each machine gives it: only the times differ


@dataclass(frozen=True)
class Column:
    """A column: what stands above it and in it, and how early it finds room in a narrow terminal (0: always)."""

    header: str
    cell: Callable[[Line], str]
    rank: int
    right: bool = True

    @property
    def is_name(self) -> bool:
        """Whether it says which variant a line is of."""
        return not self.right and self.rank == 0

    def padded(self, cell: str, width: int) -> str:
        """Return a cell of that width."""
        return cell.rjust(width) if self.right else cell.ljust(width)


def accuracy(line: Line) -> str:
    """Return the mean in percent, and the standard deviation if there is one."""
    spread = "" if pd.isna(line[0].accuracy_std) else f" ± {line[0].accuracy_std:.2%}"[:-1]
    return f"{line[0].accuracy:.2%}"[:-1] + spread


def teacher(line: Line) -> str:
    """Return the name of the teacher, marked if it is no better than the student's own baseline."""
    return f"{line[0].teacher} {WEAK}" if line[0].weak_teacher else str(line[0].teacher)


def errors(line: Line) -> str:
    """Return a whole number where it is no mean."""
    return f"{line[0].errors:.0f}" if line[0].seeds == 1 and line[0].errors % 1 == 0 else f"{line[0].errors:.1f}"


def millions(count: float) -> str:
    """Return multiply-adds in millions or billions."""
    return f"{count / 1e6:.3g}M" if count < 1e9 else f"{count / 1e9:.3g}G"


def counted(value: float) -> str:
    """Return a count with its thousands apart."""
    return f"{value:,.0f}"


def percent(value: float) -> str:
    """Return a fraction in percent, without its sign."""
    return f"{value:.2%}"[:-1]


def spread(name: str, shown: Callable[[float], str], least: float = 0) -> Callable[[pd.Series], str]:
    """Return what writes the mean and the standard deviation, if there is one of at least that share of the mean."""

    def cell(one: pd.Series) -> str:
        mean, std = one[name], one[f"{name}_std"]
        return shown(mean) if pd.isna(std) or std < least * mean else f"{shown(mean)} ± {shown(std)}"

    return cell


def of_network(name: str, shown: Callable[[float], str], least: float = SEEN) -> Callable[[Line], str]:
    """Return what writes `spread` of a column that no machine decides; nothing where it is empty."""
    return lambda line: "" if pd.isna(line[0][name]) else spread(name, shown, least)(line[0])


def latency(one: pd.Series) -> str:
    """Return three digits of the mean, and the standard deviation to the same place."""
    mean, std = one.latency_ms, one.latency_ms_std
    places = max(2 - math.floor(math.log10(mean)), 0)
    return digits(mean) if pd.isna(std) else f"{mean:.{places}f} ± {std:.{places}f}"


def digits(value: float) -> str:
    """Return three digits of a number."""
    return f"{value:#.3g}".rstrip(".")


def of_training(name: str) -> Callable[[Line], str]:
    """Return what writes the seconds that each machine took, "-" where it took none; nothing where none did."""
    return lambda line: each(line, lambda one: "-" if pd.isna(one[name]) else seconds(one[name]))


def of_file(name: str, shown: Callable[[pd.Series], str]) -> Callable[[Line], str]:
    """Return what writes the time that each machine found, with `DISTURBED` where that was disturbed."""

    def cell(one: pd.Series) -> str:
        if pd.isna(one[name]):
            return DISTURBED if one.disturbed else "-"
        return shown(one)

    return lambda line: each(line, cell)


def each(line: Line, cell: Callable[[pd.Series], str]) -> str:
    """Return one text a machine; nothing where no machine has anything."""
    texts = [cell(one) for one in line]
    return "" if set(texts) == {"-"} else " / ".join(texts)


def passes(name: str) -> Callable[[Line], str]:
    """Return what writes the range of a ratio."""
    return of_file(f"{name}_low", lambda one: f"{one[f'{name}_low']:.2f}-{one[f'{name}_high']:.2f}")


COLUMNS = (
    Column("model", lambda line: line[0]["name"], 0, right=False),
    Column("method", lambda line: line[0].label, 0, right=False),
    Column("teacher", teacher, 11, right=False),
    Column("accuracy %", accuracy, 0),
    Column("errors", errors, 12),
    Column("agreement %", lambda line: "" if pd.isna(line[0].agreement) else f"{line[0].agreement:.2%}"[:-1], 8),
    Column(
        "robust %", lambda line: "" if pd.isna(line[0].robust_accuracy) else f"{line[0].robust_accuracy:.1%}"[:-1], 6
    ),
    Column("nonzero", lambda line: f"{line[0].nonzero_parameters:,.0f}", 17),
    Column("MACs", lambda line: millions(line[0].macs), 18),
    Column("file", lambda line: size(line[0].size_bytes), 1),
    Column("smaller", lambda line: f"{line[0].baseline_size_bytes / line[0].size_bytes:.2f}x", 3),
    Column("packed", lambda line: "" if pd.isna(line[0].packed_bytes) else size(line[0].packed_bytes), 2),
    Column("gzip", lambda line: size(line[0].size_gzip_bytes), 10),
    Column("faster", of_file("speedup", lambda one: f"{one.speedup:.2f}x"), 4),
    Column("range", passes("speedup"), 6),
    Column("faster 256", of_file("throughput_ratio", lambda one: f"{one.throughput_ratio:.2f}x"), 5),
    Column("range 256", passes("throughput_ratio"), 7),
    Column("ms/image", of_file("latency_ms", lambda one: digits(one.latency_ms)), 9),
    Column("min ms", of_file("latency_min_ms", lambda one: digits(one.latency_min_ms)), 16),
    Column("images/s", of_file("throughput", lambda one: f"{one.throughput:,.0f}"), 13),
    Column("train s", of_training("train_seconds"), 14),
    Column("CPU s", of_training("train_cpu_seconds"), 15),
    Column("teacher s", of_training("teacher_train_seconds"), 19),
)

# What compression is judged by, with the spread over seeds of each.
COMPRESSION = (
    *COLUMNS[:2],
    Column("seeds", lambda line: counted(line[0].seeds), 0),
    Column("accuracy %", accuracy, 0),
    Column("validation %", of_network("file_val_accuracy", percent, least=0), 0),
    Column("nonzero", of_network("nonzero_parameters", counted), 0),
    Column("MACs", of_network("macs", millions), 0),
    Column("file", of_network("size_bytes", size), 0),
    Column("packed", of_network("packed_bytes", size), 0),
    Column("ms/image", of_file("latency_ms", latency), 0),
    Column("faster 256", of_file("throughput_ratio", spread("throughput_ratio", lambda ratio: f"{ratio:.2f}x")), 0),
)
