"""The runs of a multirun, handed to Hydra's launcher: to this process in the order of what was typed, to workers so
that few wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, OmegaConf, open_dict

from kdbench.cli import launchers
from kdbench.cli.composed_run import as_typed, plainly, planned, require_column
from kdbench.cli.elsewhere import Elsewhere, Limits
from kdbench.cli.invocation import Invocation, but_seed
from kdbench.cli.reports import Reports
from kdbench.errors import BadSetting
from kdbench.results.ledger import Ledger
from kdbench.settings.compose import outputs_of
from kdbench.settings.config import Config
from kdbench.settings.identity import code_of_row
from kdbench.settings.network import NetworkSpec
from kdbench.storage import mirror

PLACES = ("outputs", "remote")  # settings that say where results go
Compose = Callable[[Sequence[str]], DictConfig]
"""From the settings of a run, for Hydra, to all that Hydra composes of them."""


def do(
    invocation: Invocation,
    launcher: Any,
    config: DictConfig,
    runs: Sequence[list[str]],
    limits: Limits,
    compose: Compose,
) -> None:
    """Let `launcher` do `runs`, given as Hydra's sweeper lists them, within `limits`.

    `config` is that of the whole. Raises `BadSetting` if there is nothing to do, or the launcher cannot do it.
    """
    jobs = {tuple(plainly(run)): run for run in runs}  # what is typed twice is done once
    invocation.plan(*map(list, jobs))
    if invocation.bar is not None:
        invocation.bar.total = len(jobs)
        invocation.bar.refresh()
    if not jobs:
        empty = [setting for setting in as_typed(config.hydra) if "glob(" in setting or setting.endswith("=")]
        invocation.several = False
        raise BadSetting(f"no run is asked for: {' '.join(empty)} matches nothing")
    limits.require_possible()
    require_column(config.objective)
    mirror.mirror(outputs_of(config), config.remote)  # refuses, if it does, before anything is launched
    if launchers.is_local(config.hydra.launcher):
        here(launcher, jobs, compose)
    else:
        by_workers(invocation, launcher, config, jobs, limits, compose)


def here(launcher: Any, jobs: dict[tuple[str, ...], list[str]], compose: Compose) -> None:
    """Do the runs, given as typed and for Hydra, in this process, one after the other."""
    for run in {seedless(typed)[0]: run for typed, run in jobs.items()}.values():  # before the first begins
        compose(run)
    for returned in launcher.launch([*jobs.values()], 0):
        _ = returned.return_value  # raises what was raised


def by_workers(
    invocation: Invocation,
    launcher: Any,
    config: DictConfig,
    jobs: dict[tuple[str, ...], list[str]],
    limits: Limits,
    compose: Compose,
) -> None:
    """Let workers do the runs, given as typed and for Hydra, in the order in which few wait for each other."""
    launchers.require_possible(config.hydra.launcher)
    if "${" in str(Path.cwd()):
        raise BadSetting(f"workers cannot stand in {Path.cwd()}: Hydra fills in its ${{...}}: go to another folder")
    for name in PLACES:
        places = {word for one in jobs for word in one if word.startswith(f"{name}=")}
        if len(places) > 1 or any("${" in word for word in places):
            raise elsewhere_too(name)
    if config.seeds_together == "always":
        raise BadSetting("seeds_together=always trains several runs in one process: leave --on or hydra/launcher out")
    outputs = outputs_of(config)
    networks, codes = networks_of(invocation, jobs, compose, (outputs, config.remote))
    if not networks:
        return
    invocation.record(Ledger(outputs))
    own = [*launchers.no_more_than(len(networks), launcher, config.hydra.launcher)]
    # Workers may stand in another folder, where Hydra would make one of this name.
    folder = QuotedString(str(Path.cwd() / config.hydra.sweep.dir), Quote.single).with_quotes()
    own.append(f"hydra.sweep.dir={folder}")
    ordered = in_order(networks, launchers.workers_of(config.hydra.launcher))
    with launchers.ready(config.hydra.launcher):
        reports = Reports(reports_of(config.hydra), codes)
        work = Elsewhere(invocation, outputs, config.remote, reports, launcher.launch)
        work.do({one: [*jobs[one], *own] for one in ordered}, limits)


def reports_of(own: Any) -> Path:
    """Return the folder that workers report to."""
    return Path(own.sweep.dir) / "jobs"


def networks_of(
    invocation: Invocation,
    jobs: dict[tuple[str, ...], list[str]],
    compose: Compose,
    place: tuple[Path, str | None],
) -> tuple[dict[tuple[str, ...], NetworkSpec], set[str]]:
    """Return the network of each run, and the code that decides them; of impossible settings, report it.

    One run of each variant is composed, since that takes a tenth of a second: its seeds differ in nothing else,
    unless `outputs` is made of other settings. Raises `BadSetting` if a choice among the settings of a run takes its
    results elsewhere than to `place`, or has networks trained anew, which each worker would do for itself.
    """
    first: dict[tuple[str, ...], NetworkSpec] = {}
    found, codes = {}, set()
    for typed, run in jobs.items():
        variant, seed = seedless(typed)
        if seed is not None and variant in first:
            found[typed] = first[variant].with_seed(seed)
            continue
        try:
            composed = compose(run)
            fixed = not any(OmegaConf.is_interpolation(composed, name) for name in PLACES)
            own = outputs_of(composed), composed.remote
            config = config_of(composed)
            codes.add(code_of_row(config))
        except Exception as error:  # of this run, if not of its other seeds
            invocation.fail(error, typed, Ledger(place[0]))
            continue
        if own != place:
            raise elsewhere_too("outputs")
        if config.retrain:
            raise BadSetting(
                "retrain=true is for one process: leave --on or hydra/launcher out, or type a new outputs="
            )
        found[typed] = config.network
        if fixed:
            first[variant] = config.network
    return found, codes


def elsewhere_too(name: str) -> BadSetting:
    """Return the error for runs that write to several places."""
    return BadSetting(f"{name}= of the runs differs, and workers share one: type one {name}=, or a sweep for each")


def seedless(typed: Sequence[str]) -> tuple[tuple[str, ...], int | None]:
    """Return what a run shares with those under other seeds, and its seed, if one was typed that is a number."""
    seed = next((word.partition("=")[2] for word in typed if word.startswith("seed=")), "")
    return (but_seed(typed), int(seed)) if seed.isdecimal() else (tuple(typed), None)


def config_of(composed: DictConfig) -> Config:
    """Return the configuration that Hydra composed. Raises `BadSetting`."""
    own = composed.hydra
    with open_dict(composed):
        del composed["hydra"]
    return planned(composed, own).config


def in_order(networks: dict[tuple[str, ...], NetworkSpec], workers: int) -> list[tuple[str, ...]]:
    """Return the runs in the order in which so many workers are to begin them."""
    from kdbench.cli import order
    from kdbench.networks.cost import Training, trainings

    def needed(network: NetworkSpec) -> list[Training]:
        try:
            return trainings(network)
        except Exception:  # its own run will say why
            return []

    runs = list(networks)
    return [runs[number] for number in order.in_order([needed(networks[run]) for run in runs], workers)]
