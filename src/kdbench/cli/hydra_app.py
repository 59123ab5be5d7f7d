"""The bridge to Hydra, which composes, launches and repeats: what it calls for each run, and for a multirun."""

from __future__ import annotations

import math
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from kdbench.cli import overrides, terminal
from kdbench.cli.invocation import Invocation, PlannedRun
from kdbench.cli.messages import explain
from kdbench.errors import BadSetting, CannotWrite, nearest
from kdbench.results.ledger import Ledger
from kdbench.results.row import NUMBERS, Row
from kdbench.settings import own_folder
from kdbench.settings.choices import config_dir
from kdbench.settings.compose import outputs_of, resolve
from kdbench.settings.search_path import register
from kdbench.storage import mirror

LOCAL_LAUNCHER = "BasicLauncher"
BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"  # instead of a rate, what is done

invocation = Invocation()  # Hydra passes nothing on to what it calls


def launch(arguments: Sequence[str], command: Sequence[str], table: bool = True) -> int:
    """Hand `arguments` to Hydra and return the exit status: 0 only if every run has its row.

    `command` is the command line they stand for, without `kdbench`. A multirun ends with its `table`.
    """
    global invocation
    full_error = os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0")
    invocation = Invocation(list(command), tracebacks=full_error)
    mirror.forget()
    register()
    try:
        sys.argv = ["kdbench run", *overrides.for_hydra(arguments)]
        # Hydra prints errors in several lines and exits; with this it raises them, and we print one line.
        os.environ["HYDRA_FULL_ERROR"] = "1"
        main = hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="config")(task)
        with terminal.warnings_shown():
            main()
    except SystemExit as stop:  # from Hydra's own argument parser
        return stop.code if isinstance(stop.code, int) else 1
    except Exception as error:
        if full_error:
            traceback.print_exc()
        print(f"error: {explain(error)}", file=sys.stderr)
        return 1
    finally:
        if not full_error:
            os.environ.pop("HYDRA_FULL_ERROR", None)
    return invocation.report(table)


def task(composed: DictConfig) -> float | None:
    """Do one run, and return its `objective`, if it has one.

    A failure is reported here, when it happens; the other runs of a multirun go on.
    """
    own = HydraConfig.get()
    typed = as_typed(own)
    elsewhere = not own.launcher._target_.endswith(LOCAL_LAUNCHER)
    alone = own.mode == RunMode.RUN
    column = composed.objective
    if alone or not swept_in_order(own):
        invocation.plan(typed)
    ledger = None
    try:
        ledger = Ledger(outputs_of(composed))
        config = resolve(composed, dict(own.runtime.choices), typed, config_folders(own))
        if column is not None and column not in NUMBERS:
            raise BadSetting(f"objective={column} is no column of numbers: {nearest(column, NUMBERS)}")
    except Exception as error:
        invocation.fail(error, typed, ledger)
        if elsewhere:
            raise
        return None if column is None else math.nan
    wait = alone or elsewhere or column is not None
    row = invocation.perform(PlannedRun(typed, config), wait=wait, raises=elsewhere)
    if column is None:
        return None
    try:
        return math.nan if row is None else objective_of(row, column)  # NaN: sweepers take it for a failure
    except BadSetting as error:
        invocation.fail(error, typed, ledger)
        return math.nan


def objective_of(row: Row, column: str) -> float:
    """Return the value of a column. Raises `BadSetting` if the row has none."""
    value = getattr(row, column)
    if value is None:
        raise BadSetting(f"objective={column} is empty in this row: choose another column")
    return float(value)


class MultirunCallback(Callback):
    """Hydra's callback for a multirun: one bar over its runs, quiet when output is not a terminal."""

    def on_multirun_start(self, config: DictConfig, **_: object) -> None:
        """List the runs as Hydra's own sweeper does, and start the bar."""
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
        from hydra.core.global_hydra import GlobalHydra
        from hydra.core.override_parser.overrides_parser import OverridesParser

        invocation.several = True
        if planned := swept_in_order(config.hydra):
            parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
            typed = parser.parse_overrides(as_typed(config.hydra))
            invocation.plan(*(run for batch in BasicSweeper.split_arguments(typed, None) for run in batch))
        total = len(invocation.runs) if planned else None
        invocation.bar = tqdm(total=total, desc="sweep", bar_format=BAR, disable=None, position=0)
        invocation.bar.refresh()
        if planned and not invocation.runs:
            empty = [setting for setting in as_typed(config.hydra) if "glob(" in setting or setting.endswith("=")]
            invocation.several = False
            invocation.fail(BadSetting(f"no run is asked for: {' '.join(empty)} matches nothing"), [])
        elif not config.hydra.launcher._target_.endswith(LOCAL_LAUNCHER):
            try:
                invocation.record(Ledger(outputs_of(config)))  # its runs are done in processes that know of none
            except CannotWrite as error:
                invocation.fail(error, [])

    def on_multirun_end(self, config: DictConfig, **_: object) -> None:
        """Do what was left to other processes."""
        invocation.finish()


def swept_in_order(own: Any) -> bool:
    """Whether a multirun's runs are known from the start: a sweeper that is not Hydra's own chooses them in turn."""
    return bool(own.sweeper._target_.endswith("BasicSweeper"))


def as_typed(own: Any) -> list[str]:
    """Return the settings of a run to the letter: `${...}` in them is for the run's configuration to resolve."""
    given = OmegaConf.to_container(own.overrides.task, resolve=False)
    return [str(setting).removeprefix("++") for setting in given]  # which `overrides` put there


def config_folders(own: Any) -> list[Path]:
    """Return the folders in which choices are looked for; one given by --config-dir also holds Python files."""
    given = [
        Path(source.path)
        for source in own.runtime.config_sources
        if source.schema == "file" and source.provider == "command-line"
    ]
    for folder in given:
        own_folder.serve(folder)  # in a process of another launcher, nobody has
    return [*given, config_dir()]
