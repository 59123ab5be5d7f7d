"""What `kdbench best` says of its choice. Imports no torch."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from kdbench.cli.terminal import wrapped
from kdbench.errors import DamagedFile, printable
from kdbench.results.best import LATENCY, VALIDATION, Limit
from kdbench.results.lines import shown

if TYPE_CHECKING:
    from kdbench.results.row import Row

FILES = {"packed_bytes": "model.kdz", "size_bytes": "model.onnx"}


def in_words(column: str, value: float) -> str:
    """Return a figure with its unit."""
    if column == VALIDATION:
        return f"{value:.2%}"
    return f"{value:.3g} ms" if column == LATENCY else f"{value:,.0f} bytes"


def beyond(limit: Limit, value: float) -> str:
    """Return in words by how much a figure is beyond a limit."""
    if limit.column == VALIDATION:
        return f"{100 * (limit.bound - value):.2g} points below"
    return f"{in_words(limit.column, value - limit.bound)} above"


def named(limits: Sequence[Limit]) -> str:
    """Return limits as they were typed."""
    return " and ".join(limit.typed for limit in limits)


def sentence(data: str, size: str, limits: Sequence[Limit], count: int, keeping: int) -> str:
    """Return by what was chosen among `count` variants, of which so many are `keeping` to the limits."""
    by_size = any(limit.column == VALIDATION for limit in limits)
    what = f"the smallest {FILES[size]}" if by_size else "the most accurate file on validation"
    variants = f"{count} variant{'s' * (count != 1)}"
    if not limits:
        return f"{data}: {what}, of {variants}"
    on = " on validation" if by_size else ""
    return (
        f"{data}: {what} that keeps to {named(limits)}{on}; {keeping} of {variants} {'do' if keeping > 1 else 'does'}"
    )


def why_none(means: pd.DataFrame, nearest: pd.Series, limits: Sequence[Limit]) -> str:
    """Return which limit no variant keeps to, and by how much; if each is kept to by some, what `nearest` misses."""
    alone = [limit for limit in limits if (limit.excess(means[limit.column]) > 0).all()]
    if alone:
        return "; ".join(best_there_is(limit, means[limit.column]) for limit in alone)
    missed = [limit for limit in limits if limit.excess(pd.Series([nearest[limit.column]]))[0] > 0]
    apart = " and ".join(f"{beyond(limit, nearest[limit.column])} {limit.typed}" for limit in missed)
    return f"no variant keeps to {named(limits)} together, though some do to each: the nearest is {apart}"


def best_there_is(limit: Limit, values: pd.Series) -> str:
    """Return how far the best of all variants is from a limit."""
    if values.isna().all():
        return f"no variant has times, for {limit.typed}: type their commands again on an idle machine"
    best = values.max() if limit.column == VALIDATION else values.min()
    words = {VALIDATION: "the most accurate on validation has", LATENCY: "the fastest takes"}
    what = words.get(limit.column) or f"the smallest {FILES[limit.column]} has"
    return f"no variant keeps to {limit.typed}: {what} {in_words(limit.column, best)}, {beyond(limit, best)}"


def figures(variant: pd.Series, tested: bool) -> list[str]:
    """Return a line for what it is, and for each of its figures; `tested` with the accuracy on the test images."""
    seeds = f"mean of {variant['seeds']} seeds" if variant["seeds"] > 1 else "1 seed"
    under = f" under {variant['teacher']}" if variant["teacher"] else ""
    untimed = pd.isna(variant[LATENCY])
    lines = {
        "variant": f"{variant['name']} {variant['label']}{under}",
        "validation": f"{accuracy(variant, VALIDATION)} ({seeds})",
        **{name: in_words(column, variant[column]) for column, name in FILES.items()},
        "one image": "not timed" if untimed else f"{in_words(LATENCY, variant[LATENCY])} ({variant['machine']})",
    }
    if pd.isna(variant["packed_bytes"]):
        del lines["model.kdz"]  # of an earlier version
    if tested:
        lines["test"] = f"{accuracy(variant, 'accuracy')} (looked at for this one alone, after it was chosen)"
    return [f"{name:13}{text}" for name, text in lines.items()]


def accuracy(variant: pd.Series, column: str) -> str:
    """Return the mean in percent, with the standard deviation over seeds if there is one."""
    spread = variant[f"{column}_std"]
    return f"{variant[column]:.2%}" + ("" if pd.isna(spread) else f" ± {100 * spread:.2f}")


def median(one: pd.Series, keeps: bool | None = None) -> str:
    """Return which of several seeds a line of `pool` is, and whether it keeps to limits as the mean does."""
    own = ", ".join(f"{name} {in_words(column, one[column])}" for column, name in FILES.items())
    among = {None: "", True: " of those that keep to it themselves", False: "; none keeps to it by itself"}[keeps]
    return (
        f"seed {one['seed']:.0f}, the median on validation{among} ({in_words(VALIDATION, one[VALIDATION])}, {own}): "
    )


def how(folder: Path, row: Row, which: str) -> list[str]:
    """Return the lines that say which run's file it is, and the command that makes it, which can be copied."""
    from kdbench.cli.made_by import command

    where = f"{which}{shown(folder.absolute())}"
    try:
        made_by = command(folder, row)
        again = shlex.join(["kdbench", "verify", "--retrain", str(folder)])
        unknown = f"its command is not known, but its settings are: {again} makes it once more"
    except DamagedFile as error:
        made_by, unknown = None, f"its command is not known: {error}"
    if made_by is None:
        return [wrapped(printable(where)), wrapped(printable(unknown))]
    return [wrapped(printable(f"{where}, made by")), printable(made_by)]
