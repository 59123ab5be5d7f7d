"""`kdbench sweep`: every model under every treatment, as one multirun; or what an experiment lists, as several."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdbench.cli import launchers, overrides, terminal
from kdbench.cli.arguments import Subparsers
from kdbench.errors import BadSetting
from kdbench.settings.choices import EVERYTHING, SWEEPS, config_dir, options, read

HELP = f"""\
kdbench sweep [SETTING=VALUE ...]

All nine models x baseline, quantize, prune, distill: the same as
  kdbench run -m 'model={EVERYTHING["model"]}' \\
                 compress={EVERYTHING["compress"]}
Takes every setting of `kdbench run`; model=A,B or compress=A,B narrows the
sweep, seed=0,1,2 repeats it. Ends with the whole table. A run that fails is
reported when it fails, and the others go on. Typed again, or with more seeds or
models, it does what is missing; typed in several terminals at once, they share
the work.

kdbench sweep --on joblib|ray|slurm [--workers N]
  N runs at a time, on this machine (joblib), on each machine of a Ray cluster,
  or as jobs of a SLURM queue; the cores are divided among them. All share
  outputs=. Needs kdbench[joblib], [ray] or [slurm]; see docs/scale.md.

kdbench sweep +experiment=operating_points
  every method at several sparsities, bits or shares of the multiply-adds:
  several multiruns, which conf/experiment/operating_points.yaml lists
"""
EXPERIMENT = "experiment"


def add(subparsers: Subparsers) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser(
        "sweep", help="all nine models x baseline, quantize, prune, distill", page=lambda: HELP
    )
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Run every model under every treatment, unless the settings narrow it. Returns the exit status."""
    from kdbench.cli.hydra_app import launch

    typed = {overrides.name_of(setting) for setting in options.settings}
    missing = [f"{group}={everything}" for group, everything in EVERYTHING.items() if group not in typed]
    command = ["sweep", *options.settings]
    several = listed(options.settings)
    if several is None:
        return launch(["--multirun", *missing, *options.settings], command)
    others = [setting for setting in options.settings if overrides.name_of(setting) not in (EXPERIMENT, "compress")]
    models = [setting for setting in missing if setting.startswith("model=")]
    return launch_all([["--multirun", *models, *others, *sweep] for sweep in several], command)


def listed(settings: Sequence[str]) -> list[list[str]] | None:
    """Return the settings of each multirun of the experiment that is typed; None if it does not list several.

    Of these only what `compress=` names, where that is typed. Raises `BadSetting` if nothing is left of them.
    """
    given = {overrides.name_of(setting): setting.partition("=")[2] for setting in settings}
    path = options(EXPERIMENT, folders(settings)).get(given.get(EXPERIMENT, ""))
    sweeps = read(path).get(SWEEPS) if path else None
    if path is None or sweeps is None:
        return None
    methods = given["compress"].split(",") if "compress" in given else None
    try:
        chosen = [of_methods(sweep, methods) for sweep in sweeps]
        found = [[f"{name}={','.join(map(written, values))}" for name, values in s.items()] for s in chosen if s]
    except (AttributeError, KeyError, TypeError) as error:
        raise BadSetting(
            f"{path}: {SWEEPS} are lists of values by the names of settings, each with compress"
        ) from error
    if not found:
        known = ", ".join(dict.fromkeys(method for sweep in sweeps for method in sweep["compress"]))
        raise BadSetting(f"compress={given['compress']} is not of {EXPERIMENT}={path.stem}: choose from {known}")
    return found


def folders(settings: Sequence[str]) -> list[Path]:
    """Return where choices are looked for."""
    from hydra._internal.utils import get_args_parser

    own = get_args_parser().parse_known_args(list(settings))[0].config_dir
    return [*([Path(own)] if own else []), config_dir()]


def of_methods(sweep: Mapping[str, Any], methods: Sequence[str] | None) -> dict[str, Any]:
    """Return a sweep narrowed to some methods (None: all); {} if it has none of them."""
    left = [method for method in sweep["compress"] if methods is None or method in methods]
    return {**sweep, "compress": left} if left else {}


def written(value: object) -> str:
    """Return a value of YAML as it is typed."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def launch_all(launches: Sequence[Sequence[str]], command: Sequence[str]) -> int:
    """Hand each multirun to Hydra, one after the other, and print one table of all. Returns the exit status."""
    from kdbench.cli import hydra_app
    from kdbench.results.table import text

    for arguments in launches:  # before any of them begins
        overrides.for_hydra(launchers.in_full(arguments))
    status, rows = 0, []
    for arguments in launches:
        status |= hydra_app.launch(arguments, command, table=False)
        rows += [row for row, _ in hydra_app.invocation.made]
    if rows:
        print("\n" + text(rows, terminal.width()))
    return status
