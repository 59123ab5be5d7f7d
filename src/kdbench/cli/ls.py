"""`kdbench ls`: what can be chosen, each with one line of its own YAML."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from kdbench.cli.arguments import Subparsers, add_own_folder, own_folders
from kdbench.errors import BadSetting


def add(subparsers: Subparsers) -> None:
    """Add the command's parser."""
    about = "models, compressions and data sets"
    parser = subparsers.add_parser("ls", help=about, description=about)
    add_own_folder(parser)
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Print models with parameters and multiply-adds, compressions with knobs, and data sets."""
    from kdbench.settings import choices

    folders = [*own_folders(options), choices.config_dir()]
    models = [[name, *sizes(path), choices.about(path)] for name, path in choices.options("model", folders).items()]
    models.sort(key=lambda cells: (not cells[1], cells[0].partition("_")[0], int(cells[1].replace(",", "") or 0)))
    compressions = [
        [name, " ".join(f"{knob}={value}" for knob, value in choices.knobs(path).items()), choices.about(path)]
        for name, path in choices.options("compress", folders).items()
    ]
    data = [[name, choices.about(path)] for name, path in choices.options("data", folders).items()]
    _show("model=", ["", "parameters", "multiply-adds", ""], models, right=(1, 2))
    _show("compress=", ["", "knobs", ""], compressions)
    _show("data=", ["", ""], data)
    return 0


def sizes(path: Path) -> tuple[str, str]:
    """Return trainable parameters and multiply-adds for one image of MNIST, with thousands separated.

    Both are empty where one YAML stands for many networks.
    """
    import torch

    from kdbench.settings.choices import read

    if "called" in read(path):
        return "", ""
    model = {name: value for name, value in read(path).items() if name not in ("teacher", "defaults")}
    try:
        # Shapes alone: whoever lists sizes need not have the memory for them.
        with torch.device("meta"):
            return counted(model)
    except (RuntimeError, BadSetting):  # of a model that looks at values, too
        return counted(model)


def counted(model: dict[str, Any]) -> tuple[str, str]:
    """Build the model for MNIST on the device of the context, and count. Raises `BadSetting` if that cannot be."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from kdbench.data.mnist import MNIST
    from kdbench.data.mnist import SHAPE as MNIST_SHAPE
    from kdbench.models.network import build, parameters

    network = build(model, 0, MNIST_SHAPE, len(MNIST.class_names), ((0.0,), (1.0,))).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, *MNIST_SHAPE))
    # It counts a multiply-add as two operations.
    return f"{parameters(network):,}", f"{counter.get_total_flops() // 2:,}"


def _show(group: str, header: list[str], lines: list[list[str]], right: tuple[int, ...] = ()) -> None:
    header = [group, *header[1:]]
    lines = [[f"  {line[0]}", *line[1:]] for line in lines]
    widths = [max(len(line[column]) for line in [header, *lines]) for column in range(len(header))]
    for line in [header, *lines]:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
    print()
