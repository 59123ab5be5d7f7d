"""What a command says at its end: the table, what failed, what has no times, what waits to be pushed."""

from __future__ import annotations

import shlex
import sys
from itertools import chain

from tqdm import tqdm

from kdbench.cli import terminal
from kdbench.cli.invocation import Invocation
from kdbench.cli.unpushed import report_unpushed

NAMED = 5  # runs in one line


def report(one: Invocation, table: bool = True) -> int:
    """Print, after a multirun, the whole `table` and what failed; return the exit status."""
    if table and one.bar is not None and one.made:
        from kdbench.results.table import text

        print("\n" + text([row for row, _ in one.made], terminal.width()))
    for asked, used in sorted(one.replaced):
        print(f"!! {asked} could not be had: what was run above is {used}, not {asked}", file=sys.stderr)
    report_untimed(one)
    if one.several and one.failures and all_failed_alike(one):
        print(f"\nall {len(one.runs)} runs failed, for the one reason above", file=sys.stderr)
    elif one.several and one.failures:
        print(f"\n{len(one.failures)} of {len(one.runs)} runs failed:", file=sys.stderr)
        for message in dict.fromkeys(failure.message for failure in one.failures):
            alike = [failure.name for failure in one.failures if failure.message == message]
            lines = [f"{alike[0]}: {message}"] if len(alike) == 1 else [message, *(f"  {name}" for name in alike)]
            print(*(f"  {line}" for line in lines), sep="\n", file=sys.stderr)
        if one.stopped:
            again = shlex.join(["kdbench", *one.command])
            print(f"the others were not begun; to go on, type the same command again:\n  {again}", file=sys.stderr)
    waits = report_unpushed(chain.from_iterable(one.unpushed.values()))
    return 1 if one.failures or waits else 0


def all_failed_alike(one: Invocation) -> bool:
    """Whether no run is done, for a reason that they have in common."""
    return len(one.failures) == len(one.runs) > 1 and len({failure.message for failure in one.failures}) == 1


def report_untimed(one: Invocation) -> None:
    """Print, in one line, which runs have no times, and why."""
    names = [name for name, _ in one.untimed.values()]
    if names:
        from kdbench.results.lines import listed

        why = "other processes had the CPU too, so there are no times (the same command measures them)"
        tqdm.write(terminal.wrapped(f"not timed: {listed(names, NAMED)}: {why}", sys.stderr), file=sys.stderr)
