"""What was measured of an int8 file, and the Markdown table of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

FLOAT = "float32"
Ratio = tuple[float, float, float]
"""How many times as fast as the float file: median, least and most over passes."""


@dataclass(frozen=True)
class Measured:
    """A file of a network: `latency` and `throughput` say how many times as fast as the float file it is."""

    by: str
    error: str = ""  # what its maker said instead of making it
    made_s: float | None = None
    size_bytes: int | None = None
    errors: int | None = None  # of the test images
    agreement: float | None = None  # with the float file, in [0, 1]
    latency_ms: float | None = None  # of one image, the fastest call
    latency: Ratio | None = None
    throughput: Ratio | None = None  # at batch 256
    cpu_share: float | None = None  # the least of all files of the network: below 0.9, others had the processor too


def table(found: dict[str, Any], names: Sequence[str]) -> str:
    """Return a Markdown table of these networks."""
    titles = ("network", "int8 by", "errors", "agreement", "bytes", "latency", "throughput", "made in", "CPU")
    lines = [f"| {' | '.join(titles)} |", f"| {' | '.join(['---'] * 2 + ['---:'] * 7)} |"]
    for name in names:
        lines += [line(found[name], Measured(**file)) for file in found[name]["files"]]
    return "\n".join(lines)


def line(network: dict[str, Any], file: Measured) -> str:
    """Return a row of the table."""
    if file.error:
        return f"| {network['model']} | {file.by} | {file.error.replace('|', '/')} | | | | | | |"
    small = network["files"][0]["size_bytes"] / file.size_bytes
    cells = (
        network["model"],
        file.by,
        f"{file.errors} of {network['images']:,}",
        f"{file.agreement:.2%}",
        f"{file.size_bytes:,}" + ("" if file.by == FLOAT else f" ({small:.2f}x smaller)"),
        f"{file.latency_ms:.3f} ms" if file.by == FLOAT else times_words(file.latency),
        "1" if file.by == FLOAT else times_words(file.throughput),
        "" if file.made_s is None else f"{file.made_s:.1f} s",
        f"{file.cpu_share:.2f}",
    )
    return f"| {' | '.join(cells)} |"


def times_words(ratio: Ratio) -> str:
    """Return `1.50x (1.40-1.60)`."""
    return f"{ratio[0]:.2f}x ({ratio[1]:.2f}-{ratio[2]:.2f})"
