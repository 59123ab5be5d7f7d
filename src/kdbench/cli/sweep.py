"""`kdbench sweep`: every model under every treatment, as one multirun."""

from __future__ import annotations

import argparse

from kdbench.cli.arguments import Subparsers
from kdbench.settings.choices import EVERYTHING

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
"""


def add(subparsers: Subparsers) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser(
        "sweep", help="all nine models x baseline, quantize, prune, distill", page=lambda: HELP
    )
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Run every model under every treatment, unless the settings narrow it. Returns the exit status."""
    from kdbench.cli.hydra_app import launch

    typed = {setting.partition("=")[0] for setting in options.settings}
    missing = [f"{group}={everything}" for group, everything in EVERYTHING.items() if group not in typed]
    return launch(["--multirun", *missing, *options.settings], ["sweep", *options.settings])
