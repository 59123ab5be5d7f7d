"""What a search found: its trials as a table, and the best of them under fresh seeds, tested."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kdbench.cli.values import as_typed

if TYPE_CHECKING:
    from kdbench.results.row import Row
    from kdbench.search.plan import Plan
    from kdbench.search.study import Tried

FRESH = 100  # the first of the fresh seeds: those of trials and of studies begin at 0


def tested(
    plan: Plan, found: Mapping[str, Sequence[Tried]], common: Mapping[str, Any], options: argparse.Namespace
) -> int:
    """Train what was found anew under fresh seeds, read the test set for that, and print how it compares."""
    from kdbench.cli import hydra_app

    wanted: dict[str, Mapping[str, Any]] = {"by hand": plan.against} if plan.against else {}
    for sampler, best in found.items():
        wanted |= {f"{sampler} {place}".removesuffix(" 1"): one.settings for place, one in enumerate(best, 1)}
    own = ["--config-dir", str(options.config_dir)] if options.config_dir else []
    for name, settings in wanted.items():
        print(f"{name}: {shlex.join(['kdbench', 'run', *own, *as_typed({**common, **settings})])}")
    if not plan.seeds:
        return 0
    seeds = ",".join(str(FRESH + number) for number in range(plan.seeds))
    rows: dict[str, list[Row]] = {}
    status = 0
    for name, settings in wanted.items():
        arguments = [*own, "--multirun", *as_typed({**common, **settings}), f"seed={seeds}"]
        status |= hydra_app.launch(arguments, options.command_line, table=False)
        rows[name] = [row for row, _ in hydra_app.invocation.made]
    print("\n" + "\n".join(comparison(plan, rows)))
    return status


def comparison(plan: Plan, rows: Mapping[str, Sequence[Row]]) -> list[str]:
    """Return a line for each of what was tested: errors, what else is an objective, and the difference by seed."""
    from kdbench.results.claims import by_seed
    from kdbench.results.paired import difference, figure

    first = next(iter(rows))
    against = by_seed("errors", rows[first])
    seeds = f"{plan.seeds} fresh seed{'s' * (plan.seeds > 1)}"
    lines = [f"test errors under {seeds}, mean (95% interval); by seed less those of {first}"]
    for name, own in rows.items():
        errors = by_seed("errors", own)
        if not errors:
            lines.append(f"  {name}: failed")
            continue
        others = [
            f"{column} {in_words(column, figure([*by_seed(column, own).values()]).mean)}"
            for column in plan.objectives
            if by_seed(column, own)
        ]
        line = f"  {name}: {figure([*errors.values()])}; {', '.join(others)}"
        failed = plan.seeds - min(len(errors), len(against))
        both = sorted(errors.keys() & against.keys())
        if failed:
            line += f"; not compared: {failed} of {plan.seeds} seeds failed"
        elif name != first:
            apart = difference([errors[seed] for seed in both], [against[seed] for seed in both])
            line += f"; {apart}: {apart.verdict}"
        lines.append(line)
    return lines


def in_words(column: str, value: float) -> str:
    """Return a measured number as it is read."""
    if column == "val_accuracy":
        return f"{value:.2%}"
    return f"{value:.2f}x" if column == "speedup" else f"{value:,.0f}"


def table_of(trials: Sequence[Tried], plan: Plan) -> str:
    """Return all trials as CSV: settings, columns, and why there are none."""
    import pandas as pd

    lines = [{"trial": one.number, **one.settings, **one.found, "why": one.why} for one in trials]
    settings = [knob.name for knob in plan.space.knobs]
    return pd.DataFrame(lines, columns=["trial", *settings, *plan.columns, "why"]).to_csv(index=False)
