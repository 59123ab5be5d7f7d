"""A row in words: what is printed after a run. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from kdbench.results.row import Row

BETWEEN = "  |  "  # the parts of a line
BETWEEN_NAMES = "  "
LONGEST = 40  # characters of a setting
INDENT = "  "  # of the lines that go on
OF_NETWORK = ("model.", "train.", "view=", "normalise=", "data.train_images=")  # settings that are about it
OF_METHOD = ("compress.", "teacher_train.")


def line(row: Row, folder: Path, width: int | None = None, typed: Sequence[str] = (), *remarks: str) -> str:
    """Return a row in one line, or, if a terminal is too narrow for it, in several of at most `width` characters.

    Its variant by the settings `typed`, accuracy, size and time, both beside those of the baseline, `remarks`, and
    where it lies.
    """
    parts = [
        f"{row.dataset}  {variant(row, typed, BETWEEN_NAMES)}",
        f"{row.accuracy:.2%} ({row.errors} errors of {row.test_images}){under_attack(row)}",
        *beside_baseline(row),
        *remarks,
        shown(folder),
    ]
    return "\n".join(packed(parts, width))


def variant(row: Row, typed: Sequence[str], between: str = " ") -> str:
    """Return network, method and seed, each with those of the settings `typed` that are about it."""
    of_network = in_brackets(word for word in typed if word.startswith(OF_NETWORK))
    of_method = in_brackets(word.removeprefix("compress.") for word in typed if word.startswith(OF_METHOD))
    return between.join([row.model + of_network, row.compress + of_method, f"seed {row.seed}"])


def listed(names: Sequence[str], most: int) -> str:
    """Return the first names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def in_brackets(words: Iterable[str]) -> str:
    """Return words behind a name; of long ones the beginning."""
    shown = [word if len(word) <= LONGEST else f"{word[: LONGEST - 1]}…" for word in words]
    return f" ({' '.join(shown)})" if shown else ""


def beside_baseline(row: Row) -> list[str]:
    """Return size and time in words, with ratios where there is anything else to compare with."""
    alone = row.compress == "baseline"
    bytes_ = size(row.size_bytes)
    if row.packed_bytes is not None:
        bytes_ += f" ({size(row.packed_bytes)} packed)"
    if not alone:
        bytes_ += f", {ratio(row.baseline_size_bytes, row.size_bytes)} its baseline"
    parts = [bytes_]
    if row.teacher and row.teacher_size_bytes:
        parts.append(
            f"{ratio(row.teacher_size_bytes, row.size_bytes)} its teacher {row.teacher}{errors_of_teacher(row)}"
        )
    if row.latency_ms is None:
        return [*parts, "not timed: others had the processor too"]
    time = f"{row.latency_ms:.3g} ms an image"
    if row.speedup is not None and not alone:
        time += f", {faster(row)} its baseline"
    return [*parts, time]


def under_attack(row: Row) -> str:
    """Return what is left of the accuracy under attacks, where that was measured."""
    return "" if row.robust_accuracy is None else f", {row.robust_accuracy:.1%} under attacks"


def errors_of_teacher(row: Row) -> str:
    """Return how many errors the teacher makes, as its student's are counted."""
    if row.teacher_accuracy is None:
        return ""
    return f" ({round((1 - row.teacher_accuracy) * row.test_images)} errors)"


def faster(row: Row) -> str:
    """Return in words how the time for one image compares with that of the same network uncompressed."""
    assert row.speedup is not None
    low, high = row.speedup_low or row.speedup, row.speedup_high or row.speedup
    if low <= 1 <= high or abs(row.speedup - 1) < 0.02:
        return "as fast as"
    return f"{row.speedup:.3g}x faster than" if row.speedup > 1 else f"{1 / row.speedup:.3g}x slower than"


def packed(parts: list[str], width: int | None) -> list[str]:
    """Return lines of at most `width` characters, if `parts` allow it, that hold as many of them as have room."""
    lines = [parts[0]]
    for part in parts[1:]:
        longer = lines[-1] + BETWEEN + part
        if width is None or len(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(INDENT + part)
    return lines


def seconds(count: float) -> str:
    """Return seconds to two digits where they are few."""
    return f"{count:.0f}" if count >= 9.95 else f"{count:.1f}" if count >= 0.95 else f"{count:.1g}"


def size(count: float) -> str:
    """Return bytes in the unit a person would choose (powers of 1000)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5 or unit == "GB":
            return f"{count:.3g} {unit}" if unit != "B" else f"{count:.0f} B"
        count /= 1000
    raise AssertionError


def ratio(other: int, own: int) -> str:
    """Return in words how `own` bytes compare with `other` bytes."""
    if abs(other / own - 1) < 0.005:
        return "as large as"
    return f"{other / own:.3g}x smaller than" if other > own else f"{own / other:.3g}x larger than"


def shown(path: Path) -> str:
    """Return `path` as a person there would type it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
