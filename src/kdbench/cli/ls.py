"""`kdbench ls`: what can be chosen, each with one line of its own YAML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kdbench.cli.arguments import Arguments, add_own_folder, own_folder
from kdbench.cli.messages import one_line
from kdbench.errors import BadSetting
from kdbench.settings import trust
from kdbench.settings.choices import about, config_dir, options


def main(arguments: Sequence[str]) -> int:
    """Print models with parameters and multiply-adds, compressions with knobs, and data sets."""
    parser = Arguments(prog="kdbench ls", description="Models, compressions and data sets.")
    add_own_folder(parser)
    folders = [*own_folder(parser.parse_args(arguments)), config_dir()]

    from omegaconf import OmegaConf

    models = [
        [name, *sizes_if_trusted(_node(OmegaConf.load(path))), about(path)]
        for name, path in options("model", folders).items()
    ]
    models.sort(key=lambda cells: (cells[0].partition("_")[0], int(cells[1].replace(",", "") or 0)))
    compressions = []
    for name, path in options("compress", folders).items():
        node = _node(OmegaConf.load(path))
        knobs = " ".join(f"{key}={value}" for key, value in node.items() if key not in ("_target_", "steps"))
        compressions.append([name, knobs, about(path)])
    data = [[name, about(path)] for name, path in options("data", folders).items()]
    _show("model=", ["", "parameters", "multiply-adds", ""], models, right=(1, 2))
    _show("compress=", ["", "knobs", ""], compressions)
    _show("data=", ["", ""], data)
    return 0


def sizes_if_trusted(model: dict[str, Any]) -> tuple[str, str]:
    """Return the sizes, or nothing of a model whose code nobody said may be run."""
    if "_target_" in model:
        try:
            trust.require(str(model["_target_"]))
        except BadSetting:
            return "", ""
    try:
        return sizes(model)
    except RuntimeError as error:
        raise BadSetting(f"{model['_target_']} cannot be built as its YAML says ({one_line(error)})") from error


def sizes(model: dict[str, Any]) -> tuple[str, str]:
    """Return trainable parameters and multiply-adds for one image, with thousands separated."""
    import torch

    try:
        # Shapes alone: whoever lists sizes need not have the memory for them.
        with torch.device("meta"):
            return counted(model)
    except RuntimeError:  # of a model that looks at values, too
        return counted(model)


def counted(model: dict[str, Any]) -> tuple[str, str]:
    """Build the model on the device of the context, and count."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from kdbench.models.network import build, parameters

    model.pop("teacher", None)
    model.pop("defaults", None)
    network = build(model, 0, (0.0, 1.0)).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 1, 28, 28))
    # It counts a multiply-add as two operations.
    return f"{parameters(network):,}", f"{counter.get_total_flops() // 2:,}"


def _node(loaded: Any) -> dict[str, Any]:
    from omegaconf import OmegaConf

    node = OmegaConf.to_container(loaded, resolve=False)
    if not isinstance(node, dict):
        raise BadSetting(f"{loaded} is not a choice: its YAML needs settings with names")
    return {str(key): value for key, value in node.items()}


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
