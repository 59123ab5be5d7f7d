"""The bridge to Hydra, which composes, launches and repeats: what it calls for each run, and for a multirun."""

from __future__ import annotations

import math
import os
import platform
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig
from tqdm import tqdm

from kdbench.cli import ending, launchers, multirun, overrides, terminal, worker
from kdbench.cli.composed_run import as_typed, objective_of, planned
from kdbench.cli.invocation import Invocation
from kdbench.cli.messages import explain
from kdbench.cli.reports import Report, Reports
from kdbench.errors import BadSetting
from kdbench.results.ledger import Ledger
from kdbench.settings.choices import config_dir
from kdbench.settings.compose import outputs_of
from kdbench.settings.search_path import register
from kdbench.storage import mirror

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
        sys.argv = [
            f"kdbench {'sweep' if command[:1] == ['sweep'] else 'run'}",
            *overrides.for_hydra(launchers.in_full(arguments)),
        ]
        # Hydra prints errors in several lines and exits; with this it raises them, and we print one line.
        os.environ["HYDRA_FULL_ERROR"] = "1"
        main = hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="config")(task)
        with terminal.warnings_shown():
            main()
    except SystemExit as stop:  # from Hydra's own argument parser
        return stop.code if isinstance(stop.code, int) else 1
    except Exception as error:
        if invocation.bar is not None:
            invocation.bar.leave = False
            invocation.bar.close()
        if full_error:
            traceback.print_exc()
        print(f"error: {explain(error)}", file=sys.stderr)
        return 1
    finally:
        invocation.held.close()
        if not full_error:
            os.environ.pop("HYDRA_FULL_ERROR", None)
    return ending.report(invocation, table)


def task(composed: DictConfig) -> float | Report | None:
    """Do one run, and return its `objective`, if it has one; in a worker of a launcher, how it ended.

    A failure is reported here, when it happens; the other runs of a multirun go on.
    """
    own = HydraConfig.get()
    alone = own.mode == RunMode.RUN
    if not (alone or launchers.is_local(own.launcher)):
        return task_of_worker(composed, own)
    typed = as_typed(own)
    column = composed.objective
    if alone or not swept_in_order(own):
        invocation.plan(typed)
    ledger = None
    try:
        if not launchers.is_local(own.launcher):
            raise BadSetting(
                f"hydra/launcher={own.runtime.choices['hydra/launcher']} is for several runs: type kdbench sweep"
            )
        ledger = Ledger(outputs_of(composed))
        run = planned(composed, own)
    except Exception as error:
        invocation.fail(error, typed, ledger)
        return None if column is None else math.nan
    row = invocation.perform(run, wait=alone or column is not None)
    if column is None:
        return None
    try:
        return math.nan if row is None else objective_of(row, column)  # NaN: sweepers take it for a failure
    except BadSetting as error:
        invocation.fail(error, typed, ledger)
        return math.nan


def task_of_worker(composed: DictConfig, own: Any) -> Report:
    """Do one run in a process, perhaps on a machine, that is not the one of the command.

    Raises `BadSetting` if that cannot be done here.
    """
    try:
        os.chdir(own.runtime.cwd)
    except OSError as error:  # paths that were typed mean something else here
        where = f"{platform.node()} has no folder {own.runtime.cwd}, where the command was typed"
        raise BadSetting(f"{where}: type it in one that all machines have") from error
    launchers.take_gpu(own.launcher, own.job.num)
    return worker.perform(
        own.job.num,
        as_typed(own),
        outputs_of(composed),
        lambda: planned(composed, own),
        Reports(multirun.reports_of(own)),
        launchers.threads_of(own.launcher),
        has_store=composed.remote is not None,
    )


class MultirunCallback(Callback):
    """Hydra's callback for a multirun: one bar over its runs, quiet when output is not a terminal."""

    def on_multirun_start(self, config: DictConfig, **_: object) -> None:
        """Start the bar. Ends the command where its sweeper cannot do it."""
        try:
            require_possible(config)
        except BadSetting as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(1) from error  # Hydra goes on after any other exception of a callback
        invocation.several = True
        invocation.bar = tqdm(desc="sweep", bar_format=BAR, disable=None, position=0)
        invocation.bar.refresh()

    def on_multirun_end(self, config: DictConfig, **_: object) -> None:
        """Do what was left to other processes."""
        invocation.finish()


def launch_jobs(launcher: Any, config: DictConfig, runs: Sequence[list[str]], limits: Any, compose: Any) -> None:
    """Do the runs of a multirun, as `multirun.do` says; for `KdbenchSweeper`."""
    multirun.do(invocation, launcher, config, runs, limits, compose)


def require_possible(config: DictConfig) -> None:
    """Raise `BadSetting` for a sweeper that chooses runs by earlier ones, if it cannot know how these ended."""
    own = config.hydra
    chooser = own.sweeper._target_.rpartition(".")[2]
    if swept_in_order(own):
        return
    if not launchers.is_local(own.launcher):
        raise BadSetting(f"{chooser} does its runs in its own process: leave --on and hydra/launcher out")
    if config.objective is None and chooser != "BasicSweeper":
        raise BadSetting(
            f"{chooser} chooses runs by what they return: type objective=val_accuracy, or another column"
        )


def swept_in_order(own: Any) -> bool:
    """Whether a multirun's runs are known from the start: a sweeper that is not kdbench's chooses them in turn."""
    return bool(own.sweeper._target_.endswith("KdbenchSweeper"))
