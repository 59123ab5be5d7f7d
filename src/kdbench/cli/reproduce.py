"""`kdbench reproduce`: what a paper says, and what comes of it here."""

from __future__ import annotations

import argparse
import shlex
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from kdbench.cli import overrides, terminal
from kdbench.cli.arguments import Subparsers
from kdbench.errors import BadSetting, nearest

if TYPE_CHECKING:
    from kdbench.results.claims import Claim, Judged
    from kdbench.results.row import Row

ABOUT = "run what a paper did, and put its claims beside what comes of it here"
GROUP = "reproduce"
QUICK = "the same on embedded digits and for a moment: it shows how it goes, and its figures mean nothing"
KEYS = ("source", "takes", "settings", "seeds", "quick", "quick_where", "where", "runs", "claims", "charts")


@dataclass(frozen=True)
class Reproduction:
    """A paper's experiment: `runs` are settings of `kdbench run` by name, on which the `claims` are judged.

    `where` are texts that stand as $NAME in the runs; $data is the data set of the runs, as a transfer set. `takes`
    is how long it takes, in words, with the machine. `settings` go with every run; so do `quick` and `quick_where`,
    if it is only to be seen how it goes. `charts` are those of `kdbench plot` that show a claim which is a curve.
    """

    name: str
    about: str
    source: str
    takes: str
    settings: list[str]
    seeds: int
    quick: list[str]
    where: dict[str, str]
    quick_where: dict[str, str]
    runs: dict[str, list[str]]
    claims: list[Claim]
    charts: list[str]


def add(subparsers: Subparsers) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser(
        "reproduce",
        help=ABOUT,
        description=f"{ABOUT.capitalize()}. Settings of `kdbench run` can be typed after it, such as "
        "data.root=FOLDER. Runs that are done are not done again.",
        usage="kdbench reproduce NAME [--seeds N] [--quick] [SETTING=VALUE ...]\n       kdbench reproduce --list",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="one of --list")
    parser.add_argument("--list", action="store_true", help="what there is, and how long each takes")
    parser.add_argument("--seeds", type=int, metavar="N", help="so many seeds, in the place of its own number")
    parser.add_argument("--quick", action="store_true", help=QUICK)
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Run it, and print claim, paper, ours and verdict. Returns 1 if a run failed."""
    from kdbench.settings.choices import config_dir
    from kdbench.settings.choices import options as choices

    known = choices(GROUP, [config_dir()])
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

    count = options.seeds or (1 if options.quick else reproduction.seeds)
    seeds = f"seed={','.join(map(str, range(count)))}"
    common = [*reproduction.settings, *(reproduction.quick if options.quick else []), *options.settings]
    where = reproduction.where | (reproduction.quick_where if options.quick else {}) | {"data": own_data(common)}
    launches = {name: ["--multirun", *written(run, where), *common, seeds] for name, run in reproduction.runs.items()}
    for arguments in launches.values():  # before any of them begins
        overrides.for_hydra(arguments)
    made: dict[str, list[tuple[Row, Path]]] = {}
    status = 0
    for name, arguments in launches.items():
        print(f"{name}: {shlex.join(['kdbench', 'run', *arguments])}")
        status |= hydra_app.launch(arguments, options.command_line, table=False)
        made[name] = hydra_app.invocation.made
    rows = {name: [row for row, _ in own] for name, own in made.items()}
    together = [one for own in made.values() for one in own]
    if together and reproduction.charts:
        folder = together[0][1].parents[2] / "reproduced" / reproduction.name
        draw_all([row for row, _ in together], folder, folder, None, only=reproduction.charts)
    print(f"\n{reproduction.about} ({reproduction.source})")
    print("\n".join(verdicts([judged(claim, rows) for claim in reproduction.claims], terminal.width() or 100)))
    if options.quick:
        print(f"--quick: {QUICK}", file=sys.stderr)
    return status


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


def listed(reproductions: Sequence[Reproduction], width: int) -> list[str]:
    """Return the lines of --list."""
    lines = []
    for one in reproductions:
        lines.append(f"{one.name}  ({one.takes})")
        lines += textwrap.wrap(f"{one.about} {one.source}", width, initial_indent="  ", subsequent_indent="  ")
    return lines


def read(name: str, path: Path) -> Reproduction:
    """Return what a YAML file describes. Raises `BadSetting` if it is no reproduction."""
    from kdbench.results.claims import claim_of
    from kdbench.settings import choices

    node = choices.read(path)
    for key in node:
        if key not in KEYS:
            raise BadSetting(f"{path}: {key} is not known: {nearest(key, KEYS)}")
    try:
        where, quick_where = (texts(node.get(key)) for key in ("where", "quick_where"))
        runs = {run: shlex.split(typed) for run, typed in texts(node["runs"]).items()}
        for typed in runs.values():
            written(typed, where | {"data": ""})
        claims = [claim_of(claim, list(runs)) for claim in node["claims"]]
        return Reproduction(
            name,
            choices.about(path),
            str(node["source"]),
            str(node["takes"]),
            words(node.get("settings")),
            int(node.get("seeds", 3)),
            words(node.get("quick")),
            where,
            quick_where,
            runs,
            claims,
            [str(chart) for chart in node.get("charts") or ()],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadSetting(f"{path} is no reproduction ({error})") from error


def texts(node: Any) -> dict[str, str]:
    """Return a mapping of texts."""
    return {str(key): str(value) for key, value in (node or {}).items()}


def written(typed: Sequence[str], where: Mapping[str, str]) -> list[str]:
    """Return settings with texts in the place of their names. Raises `KeyError` for a name that stands for none."""
    return [Template(word).substitute(where) for word in typed]


def own_data(settings: Sequence[str]) -> str:
    """Return the data set of runs under `settings` as one writes it inside a transfer set."""
    chosen = dict(setting.partition("=")[::2] for setting in settings)
    root = f",root:{chosen['data.root']}" if "data.root" in chosen else ""
    return chosen.get("data", "mnist") + root


def words(typed: Any) -> list[str]:
    """Return settings as a list, from a line of them."""
    return shlex.split(str(typed)) if typed else []
