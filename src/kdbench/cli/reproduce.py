"""`kdbench reproduce`: what a paper says, and what comes of it here."""

from __future__ import annotations

import argparse
import shlex
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kdbench.cli import overrides, terminal
from kdbench.cli.arguments import Subparsers, add_own_folder, own_folders
from kdbench.cli.reproduction import Reproduction, own_data, read, written
from kdbench.errors import BadSetting, nearest
from kdbench.results.lines import shown
from kdbench.storage import durable

if TYPE_CHECKING:
    from kdbench.results.claims import Judged
    from kdbench.results.row import Row

ABOUT = "run what a paper did, and put its claims beside what comes of it here"
GROUP = "reproduce"
TABLE = "claims.md"
OF_NETWORKS = ("train.", "model.", "view", "normalise", "weights")  # settings of what is trained
QUICK = "the same on embedded digits and for a moment: it shows how it goes, and its figures mean nothing"


def add(subparsers: Subparsers) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser(
        "reproduce",
        help=ABOUT,
        description=f"{ABOUT.capitalize()}. Settings of `kdbench run` that it does not set itself can be typed after "
        "it, such as data.root=FOLDER. Runs that are done are not done again.",
        usage="kdbench reproduce NAME [--seeds N] [--quick] [SETTING=VALUE ...]\n       kdbench reproduce --list",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="one of --list")
    parser.add_argument("--list", action="store_true", help="what there is, and how long each takes")
    parser.add_argument("--seeds", type=int, metavar="N", help="so many seeds, in the place of its own number")
    parser.add_argument("--quick", action="store_true", help=QUICK)
    add_own_folder(parser)
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Run it, and print claim, paper, ours and verdict. Returns 1 if a run failed."""
    from kdbench.settings.choices import config_dir
    from kdbench.settings.choices import options as choices

    known = choices(GROUP, [*own_folders(options), config_dir()])
    if options.list and options.name:
        raise BadSetting(f"type kdbench reproduce --list, or kdbench reproduce {options.name}")
    if options.list or options.name is None:
        print("\n".join(listed([read(name, path) for name, path in known.items()], terminal.width() or 100)))
        return 0
    if options.name not in known:
        raise BadSetting(f"there is nothing to reproduce called {options.name}: {nearest(options.name, known)}")
    if options.seeds is not None and options.seeds < 1:
        raise BadSetting(f"--seeds {options.seeds} is none: type --seeds 3")
    reproduction = read(options.name, known[options.name])
    return reproduce(reproduction, options)


def reproduce(reproduction: Reproduction, options: argparse.Namespace) -> int:
    """Do every run under every seed, and print what came of the claims."""
    from kdbench.cli import hydra_app
    from kdbench.cli.plot import draw_all
    from kdbench.results.claims import judged

    launches = launches_of(reproduction, options)
    for arguments in launches.values():  # before any of them begins
        overrides.for_hydra(arguments)
    made: dict[str, list[tuple[Row, Path]]] = {}
    outputs: set[Path] = set()
    status = 0
    for name, arguments in launches.items():
        print(f"{name}: {shlex.join(['kdbench', 'run', *arguments])}")
        status |= hydra_app.launch(arguments, options.command_line, table=False)
        made[name] = hydra_app.invocation.made
        outputs |= hydra_app.invocation.recorded
    rows = {name: [row for row, _ in own] for name, own in made.items()}
    together = [one for own in made.values() for one in own]
    about = None if options.quick else reproduction.data
    found = [judged(claim, rows, about, seeds_of(reproduction, options)) for claim in reproduction.claims]
    for place in outputs:  # one; also if all failed, so that no table of another time stays
        name = f"{reproduction.name}-quick" if options.quick else reproduction.name
        folder = durable.folder(place / "reproduced" / name)
        durable.write(folder / TABLE, markdown(reproduction, found, options).encode())
        print(shown(folder / TABLE))
        if together and reproduction.charts:
            called = {row.config_hash: name for name, own in made.items() for row, _ in own}
            draw_all([row for row, _ in together], folder, folder, None, reproduction.charts, called)
    width = terminal.width() or 100
    print("\n" + textwrap.fill(f"{reproduction.about} ({reproduction.source})", width))
    print("\n".join(verdicts(found, width)))
    if options.quick:
        print(f"--quick: {QUICK}", file=sys.stderr)
    return status


def launches_of(reproduction: Reproduction, options: argparse.Namespace) -> dict[str, list[str]]:
    """Return what is handed to Hydra for each run.

    Raises `BadSetting` for several values of what is typed, and for a setting of the experiment's own: its claims
    would be judged on something else.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    for name in map(overrides.name_of, options.settings):
        if options.quick and name == "data":
            raise BadSetting(f"{name} is not that of --quick, which is on embedded digits: leave one of both out")
        if name in reproduction.names:
            raise BadSetting(
                f"{name} is what {reproduction.name} itself sets: put a copy of its YAML into DIR/{GROUP}, "
                "change that, and type --config-dir DIR"
            )
        if name.startswith(OF_NETWORKS) and any("model:" in described for described in reproduction.where.values()):
            raise BadSetting(
                f"{name} would not be that of the teachers which {reproduction.name} describes: put a copy of its "
                f"YAML into DIR/{GROUP}, change both there, and type --config-dir DIR"
            )
    for text in map(str, overrides.for_hydra(options.settings)):
        if text.startswith("seed=") or OverridesParser.create().parse_override(text).is_sweep_override():
            raise BadSetting(
                f"{text}: what is run under what seeds is the paper's: type --seeds N, or kdbench run -m"
            )
    seeds = f"seed={','.join(map(str, range(seeds_of(reproduction, options))))}"
    last = [*(reproduction.quick if options.quick else []), *options.settings]
    data = own_data([*reproduction.settings, *last])
    where = reproduction.where | (reproduction.quick_where if options.quick else {}) | {"data": data}
    own = ["--config-dir", str(options.config_dir)] if options.config_dir else []
    return {
        name: [*own, "--multirun", *reproduction.settings, *written(run, where), *last, seeds]
        for name, run in reproduction.runs.items()
    }


def seeds_of(reproduction: Reproduction, options: argparse.Namespace) -> int:
    """Return under how many seeds everything is run."""
    return options.seeds or (1 if options.quick else reproduction.seeds)


def verdicts(found: Sequence[Judged], width: int) -> list[str]:
    """Return the lines that say, of each claim, what the paper has, what was to be reached, and what was found."""
    lines = []
    for one in found:
        claim = one.claim
        seeds = f", {one.seeds} seed{'s' * (one.seeds != 1)}" if one.seeds else ""
        lines += textwrap.wrap(f"- {claim.says}", width, subsequent_indent="  ")
        bound = "" if claim.is_comparison else f"; to reach: {claim.reach}"
        lines += textwrap.wrap(f"paper: {claim.paper}{bound}", width, initial_indent="  ", subsequent_indent="    ")
        lines += textwrap.wrap(
            f"here:  {one.ours or '-'} ({claim.what}{seeds}): {one.verdict}",
            width,
            initial_indent="  ",
            subsequent_indent="    ",
        )
    return lines


def markdown(reproduction: Reproduction, found: Sequence[Judged], options: argparse.Namespace) -> str:
    """Return the claims as a table in Markdown, under the source and the command, whose settings change them."""
    lines = [f"{reproduction.about} {reproduction.source}.", ""]
    lines += [f"    {shlex.join(['kdbench', *options.command_line])}", ""]
    if options.quick:
        lines += [f"--quick: {QUICK}.", ""]
    lines += ["| claim | paper | here | seeds | verdict |", "| --- | --- | --- | ---: | --- |"]
    for one in found:
        bound = "" if one.claim.is_comparison else f" ({one.claim.reach})"
        here = f"{one.ours or '-'} {one.claim.what}"
        lines.append(f"| {one.claim.says}{bound} | {one.claim.paper} | {here} | {one.seeds} | {one.verdict} |")
    return "\n".join(lines) + "\n"


def listed(reproductions: Sequence[Reproduction], width: int) -> list[str]:
    """Return the lines of --list."""
    lines = []
    for one in reproductions:
        lines += textwrap.wrap(f"{one.name} ({one.takes})", width, subsequent_indent="  ")
        lines += textwrap.wrap(f"{one.about} {one.source}", width, initial_indent="  ", subsequent_indent="  ")
    return lines
