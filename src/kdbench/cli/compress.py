"""`kdbench compress`: what does compressing this network, on these images, cost? One command, one answer."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kdbench.cli import overrides, terminal
from kdbench.cli.arguments import Subparsers
from kdbench.cli.compress_arguments import data_of, form_of, methods_of, require_models, shared_out, teacher_of
from kdbench.errors import BadSetting, DamagedFile

if TYPE_CHECKING:
    from kdbench.results.row import Row

ABOUT = "a network of your own, on your own images, under several methods"
TABLE = "table.md"
NETWORK_HELP = "an ONNX file, FILE.py:CLASS, a class as MODULE.CLASS in --config-dir, or a model of kdbench ls"


def add(subparsers: Subparsers) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser(
        "compress",
        help=ABOUT,
        description=f"{ABOUT.capitalize()}: the table, the charts and the files. Every setting of `kdbench run` "
        "can be typed after it, such as normalise=imagenet or train.epochs=3.",
        usage="kdbench compress NETWORK --data DIR [--weights FILE] [--methods A,B]\n"
        "                        [--into A,B] [SETTING=VALUE ...]",
    )
    parser.add_argument("network", metavar="NETWORK", help=NETWORK_HELP)
    parser.add_argument("--data", required=True, metavar="DIR", help="a folder of images, or a name of kdbench ls")
    parser.add_argument("--weights", metavar="FILE", help="its weights; without them it is trained first")
    parser.add_argument("--methods", metavar="A,B", help="of kdbench ls; quantize_all: every way to quantize")
    parser.add_argument("--into", metavar="A,B", help="distil it into these models of kdbench ls, too")
    parser.add_argument("--to", type=Path, metavar="DIR", help="default: OUTPUTS/compressed/DATA/NETWORK")
    parser.add_argument("-cd", "--config-dir", metavar="DIR", help="also use the choices and the Python in DIR")
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Compress, and write the answer. Returns the exit status."""
    from kdbench.cli import hydra_app

    form = form_of(options)
    chosen, left_out = methods_of(options, form)
    data = data_of(options, form)
    for method, why in left_out.items():
        print(f"error: --methods {method} cannot be done ({why}): the rest is", file=sys.stderr)
    flags = ["--multirun", *(["--config-dir", form.folder] if form.folder else [])]
    network, students = shared_out(options.settings, form)
    methods = ",".join(["baseline", *chosen])
    launches = [[*flags, *form.settings, f"compress={methods}", *data, *network]]
    if options.into:
        require_models(options.into, form.folder)
        launches.append([*flags, f"model={options.into}", *data, *students, "compress=baseline"])
        teacher = ",".join(f"{name}:{value}" for name, value in teacher_of(form, network).items())
        launches.append([*launches[-1][:-1], "compress=distill", f"compress.teacher={{{teacher}}}"])
    elif form.file and len(network) < len(options.settings):
        wrong = next(setting for setting in options.settings if setting not in network)
        raise BadSetting(f"{wrong} is for networks that are trained: {options.network} is a file, leave it out")
    for arguments in launches:  # before any of them begins
        overrides.for_hydra(arguments)
    if options.to:
        earlier_answer(options.to)
    status, made = int(bool(left_out and options.methods)), []
    for arguments in launches:
        status |= hydra_app.launch(arguments, options.command_line, table=False)
        made += hydra_app.invocation.made
    if made:
        answer(made, options.to or made[0][1].parents[2] / "compressed" / made[0][0].dataset / form.name)
    return status


def answer(made: Sequence[tuple[Row, Path]], folder: Path) -> None:
    """Write table, charts and files of the runs `made` into `folder`, and show the table.

    What an earlier answer left there, by its own list of files, is removed first.
    """
    from kdbench.cli.plot import draw_all
    from kdbench.results import table
    from kdbench.results.lines import shown
    from kdbench.results.run_folder import ARTIFACT
    from kdbench.storage import checksums, durable

    rows = [row for row, _ in made]
    names = names_of(rows)
    durable.folder(folder)
    for name in earlier_answer(folder):
        (folder / name).unlink(missing_ok=True)
    print("\n" + table.text(rows, terminal.width()) + "\n")
    files = {name: durable.read(place / ARTIFACT) for name, (_, place) in zip(names, made, strict=True)}
    files[TABLE] = table.markdown(rows).encode() + b"\n"
    for name, content in (files | {checksums.SUMS: checksums.sums(files)}).items():
        durable.write(folder / name, content)
        print(shown((folder / name).absolute()))
    draw_all(rows, folder, folder, None)


def earlier_answer(folder: Path) -> list[str]:
    """Return the files that an earlier answer left in `folder`, and that nobody has changed since.

    Raises `BadSetting` if its list of files is that of something else, which an answer would damage.
    """
    from kdbench.storage import checksums

    if not (folder / checksums.SUMS).exists():
        return []
    with contextlib.suppress(DamagedFile):
        listed = checksums.parse_at(folder)
        if TABLE in listed and all(name == TABLE or name.endswith(".onnx") for name in listed):
            there = {name: folder / name for name in listed if Path(name).name == name and (folder / name).is_file()}
            return [name for name, path in there.items() if checksums.checksum(path.read_bytes()) == listed[name]]
    raise BadSetting(f"--to {folder} holds files of something else, by its {checksums.SUMS}: name another folder")


def names_of(rows: Sequence[Row]) -> list[str]:
    """Return what to call the file of each row: by model and method, and by more where that is not enough."""
    several = len({row.seed for row in rows}) > 1
    names = [f"{row.model}-{row.compress}" + f"-seed{row.seed}" * several for row in rows]
    again = {name for name in names if names.count(name) > 1}
    whole = [f"{name}-{row.config_hash}" if name in again else name for name, row in zip(names, rows, strict=True)]
    return [f"{name}.onnx" for name in whole]
