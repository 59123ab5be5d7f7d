"""A row in words: the line after a run. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from kdbench.results.row import Row


def line(row: Row, folder: Path) -> str:
    """Return one line: accuracy, size, ratio to the baseline, latency, and where it lies."""
    parts = [
        f"{row.dataset}  {row.model}  {row.compress}  seed {row.seed}",
        f"{row.accuracy:.2%} ({row.errors} errors of {row.test_images})",
        f"{size(row.size_bytes)}, {ratio(row.baseline_size_bytes, row.size_bytes)} its baseline",
        "not timed" if row.latency_ms is None else f"{row.latency_ms:.3g} ms",
        shown(folder),
    ]
    if row.teacher and row.teacher_size_bytes:
        parts.insert(3, f"{ratio(row.teacher_size_bytes, row.size_bytes)} its teacher {row.teacher}")
    return "  |  ".join(parts)


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
