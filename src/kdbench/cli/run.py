"""`kdbench run`: one run, or with -m one for each combination of settings; Hydra reads the settings."""

from __future__ import annotations

import argparse

from kdbench.cli.arguments import Subparsers

HELP = """\
kdbench run [SETTING=VALUE ...]
kdbench run -m [SETTING=A,B,C ...]   (a multirun: one run for each combination)

Trains (or takes from the store), compresses, exports to ONNX, measures that
file on the test set, and writes one row to outputs/runs/DATA/RUN/metrics.csv. A
run that is done is not done again; one that was cut off goes on.

choices (kdbench ls says what they are):
{choices}
  compress.KNOB, model.KNOB  the knobs of a choice, such as
                             compress.sparsity=0.9, model.widths=[32,64,128]
  compress.teacher           who teaches: a model (cnn_deep), self (the network
                             before its compression), the folder of a run,
                             several in a list ('[cnn_deep,resnet_deep]'), or
                             a model by settings: '{{model:cnn_deep,seed:1}}'

settings, with their defaults:
{settings}
flags (from Hydra):
  -m, --multirun             a run for each combination of the values A,B,C
  --cfg job                  print the composed settings instead of running
  -cd, --config-dir DIR      also use the choices and the Python in DIR

HYDRA_FULL_ERROR=1 in the environment shows tracebacks.
"""
WIDTH = 80


def add(subparsers: Subparsers) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser("run", help="one run: train, compress, export, measure, write one row", page=page)
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Compose, and run one or many. Returns the exit status."""
    from kdbench.cli.hydra_app import launch

    return launch(options.settings, ["run", *options.settings])


def page() -> str:
    """Return the text of --help."""
    from kdbench.settings import schema

    return HELP.format(choices=choices_in_words(), settings=schema.help_text())


def choices_in_words() -> str:
    """Return the names of each group."""
    import textwrap

    from kdbench.settings.choices import config_dir, options

    lines = []
    for group in ("model", "compress", "data", "train"):
        start = f"  {group}="
        names = " ".join(options(group, [config_dir()]))
        lines.append(textwrap.fill(names, WIDTH, initial_indent=start, subsequent_indent=" " * len(start)))
    experiments = ", ".join(f"+experiment={name}" for name in options("experiment", [config_dir()]))
    return "\n".join([*lines, f"  {experiments}"])
