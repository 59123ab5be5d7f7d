"""`kdbench search`: Optuna chooses settings on validation; the best are trained anew, and only those are tested."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from kdbench.cli import overrides, signals, terminal
from kdbench.cli.arguments import Subparsers, add_own_folder, own_folders
from kdbench.cli.search_results import as_typed, in_words, table_of, tested
from kdbench.errors import BadSetting, KdbenchError, nearest
from kdbench.results.lines import shown
from kdbench.storage import durable

if TYPE_CHECKING:
    from kdbench.search.plan import Plan
    from kdbench.search.study import Report, Search, Tried

ABOUT = "let Optuna choose settings on validation, then train the best anew and test them"
GROUP = "search"
CONTROL = "random"
NOT_THERE = "searching needs Optuna: type pip install 'kdbench[search]'"


def add(subparsers: Subparsers) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser(
        "search",
        help=ABOUT,
        description=f"{ABOUT[0].upper()}{ABOUT[1:]}, beside the best of as many random trials and settings made by "
        "hand. Settings of `kdbench run` can be typed after it, such as model=cnn_simple. Typed again, it goes on; "
        "in several terminals, the trials are shared out.",
        usage="kdbench search NAME [--trials N] [--seeds N] [SETTING=VALUE ...]\n       kdbench search --list",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="one of --list")
    parser.add_argument("--list", action="store_true", help="what there is to search")
    parser.add_argument("--trials", type=int, metavar="N", help="so many, in the place of its own number")
    parser.add_argument("--seeds", type=int, metavar="N", help="so many fresh seeds for the best; 0: none is tested")
    parser.add_argument("--no-control", action="store_true", help="no random trials beside it")
    add_own_folder(parser)
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Search, train the best anew, and print how they compare. Returns 1 if a run failed."""
    from kdbench.search.plan import read
    from kdbench.settings.choices import config_dir
    from kdbench.settings.choices import options as choices

    known = choices(GROUP, [*own_folders(options), config_dir()])
    if options.list and options.name:
        raise BadSetting(f"type kdbench search --list, or kdbench search {options.name}")
    if options.list or options.name is None:
        for name, path in known.items():
            print(f"{name}  ({read(name, path).trials} trials)")
            print(textwrap.indent(textwrap.fill(read(name, path).about, (terminal.width() or 100) - 2), "  "))
        return 0
    if options.name not in known:
        raise BadSetting(f"there is no search called {options.name}: {nearest(options.name, known)}")
    plan = read(options.name, known[options.name])
    for name, least in (("trials", 1), ("seeds", 0)):
        count = getattr(options, name)
        if count is not None and count < least:
            raise BadSetting(f"--{name} {count} is too few: type --{name} {getattr(plan, name)}")
    plan = replace(plan, trials=options.trials or plan.trials)
    if options.seeds is not None:
        plan = replace(plan, seeds=options.seeds)
    return search(plan, options)


def search(plan: Plan, options: argparse.Namespace) -> int:
    """Do the trials of the plan's sampler and of the control, and test what they found."""
    common = plan.settings | typed(plan, options.settings)
    overrides.for_hydra(as_typed(common | plan.against))  # before anything begins
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise KdbenchError(NOT_THERE) from error
    from kdbench.compress.order import split_steps
    from kdbench.data.load import load_for
    from kdbench.search import charts
    from kdbench.search.basis import basis
    from kdbench.search.study import Search
    from kdbench.settings.choices import config_dir
    from kdbench.settings.typed import config_of

    for settings in (common, common | plan.against):  # what would be wrong in every trial
        config = config_of(settings, options.config_dir)
        _, splits = load_for(split_steps(config.network)[0], config.data, config.fallback)
    folder = config.outputs / GROUP
    rests_on = [
        *sorted(options.settings),
        basis([*own_folders(options), config_dir()], config.network, splits.fingerprint),
    ]
    samplers = [plan.sampler, *([CONTROL] if plan.sampler != CONTROL and not options.no_control else [])]
    found: dict[str, list[Tried]] = {}
    for sampler in samplers:
        one = Search(plan, sampler, folder, rests_on, config.network.recipe.epochs)
        with terminal.warnings_shown():
            show_trials(plan, one, common, options.config_dir)
        found[sampler] = one.best(plan.trials, plan.retrain)
        place = folder / one.name
        table = durable.folder(place) / f"trials_{sampler}.csv"
        durable.write(table, table_of(one.ended, plan).encode())
        print(shown(table))
        if sampler == plan.sampler:
            for path in charts.drawn(one.study, plan, place):
                print(shown(path))
    if not any(found.values()):
        reasons = dict.fromkeys(tried.why for tried in one.ended)
        raise KdbenchError(f"no trial came to an end: {'; '.join(reasons)}")
    return tested(plan, found, common, options)


def typed(plan: Plan, settings: Sequence[str]) -> dict[str, Any]:
    """Return typed settings by their names. Raises `BadSetting` for what is the search's own to choose."""
    names = [overrides.name_of(setting) for setting in settings]
    beside = {name: value for name, value in plan.settings.items() if name not in names}
    checked = overrides.for_hydra(["--multirun", *as_typed(beside), *settings])[len(beside) : -1]
    chosen = overrides.by_name(checked)
    for name in chosen:
        if name in ("seed", "objective") or any(knob.name == name for knob in plan.space.knobs):
            raise BadSetting(f"{name} is what the search itself chooses: leave {name}= out")
    return chosen


def show_trials(plan: Plan, search: Search, common: Mapping[str, Any], own: Path | None) -> None:
    """Do the trials of a search, under a bar, with a line for each."""
    from kdbench.search.trial import measured, settled
    from kdbench.settings.typed import config_of

    def settle(drawn: Mapping[str, Any]) -> dict[str, Any]:
        flat = settled({**common, **drawn}, own)
        return {name: flat[name] for name in drawn}

    def measure(settings: Mapping[str, Any], report: Report) -> Mapping[str, float]:
        signals.check()
        config = config_of({**common, **settings}, own)
        return measured(config, plan.columns, plan.limits, lambda epoch: report(epoch.epoch, epoch.val_accuracy))

    done = search.ended
    print(f"{search.study.study_name}: {len(done)} of {plan.trials} trials are done")
    with tqdm(
        total=plan.trials, initial=min(len(done), plan.trials), desc="trials", disable=None, leave=False
    ) as bar:
        for one in search.run(plan.trials, settle, measure):
            outcome = one.why or ", ".join(f"{name} {in_words(name, value)}" for name, value in one.found.items())
            tqdm.write(f"{one.number}: {' '.join(as_typed(one.settings))}: {outcome}", file=sys.stdout)
            bar.update()
