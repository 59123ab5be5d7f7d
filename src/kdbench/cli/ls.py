"""`kdbench ls`: what can be chosen, each with one line of its own YAML."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdbench.cli import overrides
from kdbench.cli.arguments import Subparsers, add_own_folder, own_folders
from kdbench.cli.values import as_typed
from kdbench.errors import BadSetting


def add(subparsers: Subparsers) -> None:
    """Add the command's parser."""
    about = "models, compressions and data sets"
    parser = subparsers.add_parser("ls", help=about, description=about)
    parser.add_argument(
        "--layers",
        metavar="MODEL",
        help="the layers of a model, with the shapes they give for MNIST; model.widths=[9,9] and the like can follow",
    )
    parser.add_argument("settings", nargs="*", metavar="SETTING=VALUE", help=argparse.SUPPRESS)
    add_own_folder(parser)
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Print models with parameters and multiply-adds, compressions with knobs, and data sets."""
    from kdbench.cli import terminal
    from kdbench.settings import choices

    folders = [*own_folders(options), choices.config_dir()]
    if options.layers:
        print("\n".join(layers(options.layers, options.settings, options.config_dir)))
        return 0
    if options.settings:
        raise BadSetting(f"kdbench ls takes no {options.settings[0]}: kdbench ls --layers cnn_deep lists layers")
    models = [[name, *sizes(path), choices.about(path)] for name, path in choices.options("model", folders).items()]
    models.sort(key=lambda cells: (not cells[1], cells[0].partition("_")[0], int(cells[1].replace(",", "") or 0)))
    compressions = [
        [name, " ".join(as_typed(choices.knobs(path))), choices.about(path)]
        for name, path in choices.options("compress", folders).items()
    ]
    data, transfers = (
        [[name, choices.about(path)] for name, path in choices.options(group, folders).items()]
        for group in ("data", "transfer")
    )
    width = terminal.width()
    for group, header, lines, numbers in (
        ("model=", ["parameters", "multiply-adds", ""], models, 2),
        ("compress=", ["knobs", ""], compressions, 0),
        ("data=", [""], data, 0),
        ("compress.transfer=", [""], transfers, 0),
    ):
        print("\n".join(listed([group, *header], lines, numbers, width)) + "\n")
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


def layers(name: str, typed: Sequence[str], own: Path | None) -> list[str]:
    """Return a line for each layer of a model that gives a tensor, in the order in which they run, under a header.

    `typed` are its settings. Raises `BadSetting` for a name that is no model, or without the settings that it needs.
    """
    from kdbench.data.mnist import MNIST
    from kdbench.data.mnist import SHAPE as MNIST_SHAPE
    from kdbench.models.network import assembled, in_words
    from kdbench.settings.typed import config_of
    from kdbench.training.features import model_of, shapes

    flags = ["--config-dir", str(own)] if own else []
    checked = overrides.for_hydra([f"model={name}", *typed, *flags])
    model = config_of(overrides.by_name(checked[: 1 + len(typed)]), own).network.model
    network = assembled(model, MNIST_SHAPE, len(MNIST.class_names), ((0.0,), (1.0,)))
    kinds = {path: type(module).__name__ for path, module in model_of(network).named_modules()}
    lines = [[path, in_words(shape), kinds[path]] for path, shape in shapes(network, MNIST_SHAPE).items()]
    if not lines:
        raise BadSetting(f"--layers {name}: what it is has no layers that could be named")
    return listed(["layer", "gives", ""], lines, 1, None)


def counted(model: dict[str, Any]) -> tuple[str, str]:
    """Build the model for MNIST on the device of the context, and count. Raises `BadSetting` if that cannot be."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from kdbench.data.mnist import MNIST
    from kdbench.data.mnist import SHAPE as MNIST_SHAPE
    from kdbench.models.network import assembled, parameters

    network = assembled(model, MNIST_SHAPE, len(MNIST.class_names), ((0.0,), (1.0,))).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, *MNIST_SHAPE))
    # It counts a multiply-add as two operations.
    return f"{parameters(network):,}", f"{counter.get_total_flops() // 2:,}"


def listed(header: list[str], lines: list[list[str]], numbers: int, width: int | None) -> list[str]:
    """Return lines of aligned cells; the first is a name, `numbers` after it are numbers, the rest are texts.

    Where `width` has no room for the texts side by side, they stand one below the other, wrapped.
    """
    lines = [header, *([f"  {line[0]}", *line[1:]] for line in lines)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    if width is None or sum(widths) + 2 * len(header) - 2 <= width:
        return [aligned(line, widths, numbers) for line in lines]
    first = numbers + 1
    margin = " " * (sum(widths[:first]) + 2 * first)
    room = max(width - len(margin), 20)
    shown = [aligned(header[:first], widths, numbers)]
    for line in lines[1:]:
        texts = [text for text in reversed(line[first:]) if text]  # what it is, before its knobs
        below = [part for text in texts for part in textwrap.wrap(text, room, break_on_hyphens=False)]
        shown.append((aligned(line[:first], widths, numbers).ljust(len(margin)) + "".join(below[:1])).rstrip())
        shown += [margin + part for part in below[1:]]
    return shown


def aligned(line: list[str], widths: list[int], numbers: int) -> str:
    """Return the cells in one line, numbers to the right."""
    cells = [
        cell.rjust(width) if 0 < column <= numbers else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(line, widths, strict=False))
    ]
    return "  ".join(cells).rstrip()
