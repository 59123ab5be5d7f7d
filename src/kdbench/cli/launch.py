"""`run` and `sweep`: Hydra composes, launches and repeats; errors end as one line each."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shlex
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from kdbench.cli import signals, terminal
from kdbench.cli.messages import explain
from kdbench.errors import BadSetting, Busy, CannotCount, CannotWrite, Collapsed, NotFinite
from kdbench.results.ledger import Ledger
from kdbench.settings import foreign_yaml, trust
from kdbench.settings.choices import config_dir
from kdbench.settings.compose import outputs_of, resolve
from kdbench.settings.config import Config
from kdbench.settings.schema import Schema
from kdbench.storage import locks

if TYPE_CHECKING:
    from kdbench.results.row import Row

log = logging.getLogger("kdbench")

LOCAL_LAUNCHER = "BasicLauncher"


@dataclass(frozen=True)
class Job:
    """One run as it was asked for: the settings typed, what they came to, and the name of the data set."""

    typed: list[str]
    config: Config
    data: str

    def __str__(self) -> str:
        return " ".join(self.typed) or "kdbench run"


@dataclass
class Session:
    """What happened in this process: the rows written, the jobs that failed, the bar over a sweep."""

    typed: list[str] = field(default_factory=list)  # after `kdbench`
    rows: list[Row] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    asked: list[list[str]] = field(default_factory=list)  # the jobs of a multirun
    new: bool = False  # the command was never given before
    begun: set[str] = field(default_factory=set)  # the jobs that never were before, by their keys
    slips: int = 0  # jobs that were refused for their settings, and never got further
    replaced: set[tuple[str, str]] = field(default_factory=set)  # data sets asked for, and used instead
    # Of a multirun's variants that no job has begun yet: the seeds of all their jobs.
    seeds: dict[tuple[str, ...], list[int]] = field(default_factory=dict)
    postponed: list[Job] = field(default_factory=list)  # other processes are at them
    stopped: bool = False  # nothing can be written any more
    bar: tqdm[Any] | None = None
    tracebacks: bool = False  # asked for by HYDRA_FULL_ERROR


session = Session()


class SweepBar(Callback):
    """Hydra's callback for a multirun: one bar over its jobs, quiet when output is not a terminal."""

    def on_multirun_start(self, config: DictConfig, **_: object) -> None:
        """Count the jobs as Hydra's own sweeper does, write down what they are, and start the bar."""
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
        from hydra.core.global_hydra import GlobalHydra
        from hydra.core.override_parser.overrides_parser import OverridesParser

        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        overrides = parser.parse_overrides(as_typed(config.hydra))
        jobs = [job for batch in BasicSweeper.split_arguments(overrides, None) for job in batch]
        for job in jobs:
            seeds = session.seeds.setdefault(but_seed(job), [])
            typed = [text.partition("=")[2] for text in job if text.startswith("seed=")]
            seeds += [int(seed) for seed in typed if seed.isdecimal()]
        session.asked = jobs
        session.bar = tqdm(total=len(jobs), desc="sweep", unit="run", disable=None, position=0)
        session.bar.refresh()
        if not jobs:
            empty = [text for text in as_typed(config.hydra) if "glob(" in text or text.endswith("=")]
            fail(BadSetting(f"no run is asked for: {' '.join(empty)} matches nothing"), [])
            return
        try:
            session.new = Ledger(outputs_of(config)).command(session.typed, jobs)
        except CannotWrite as error:
            fail(error, ["the sweep"])

    def on_multirun_end(self, config: DictConfig, **_: object) -> None:
        """Do what was left to other processes, as soon as they are done with it, and close the bar."""
        if session.postponed and not session.stopped:
            log.warning("waiting for other processes, which are at %d of the runs", len(session.postponed))
        for job in session.postponed:
            perform(job, wait=True)
        if session.bar is not None:
            session.bar.close()
        if session.new and session.slips and session.slips == len(session.asked):
            Ledger(outputs_of(config)).withdraw(session.typed, session.asked)


def task(composed: DictConfig) -> None:
    """Run one job. A failure is reported here, when it happens; the other jobs of a sweep go on."""
    told = HydraConfig.get()
    typed = as_typed(told)
    elsewhere = not told.launcher._target_.endswith(LOCAL_LAUNCHER)
    try:
        folders = config_folders(told)
        config = resolve(composed, dict(told.runtime.choices), typed, folders)
        job = Job(typed, config, told.runtime.choices["data"])
        alone = told.mode == RunMode.RUN
        if alone:
            session.new = Ledger(config.outputs).command(session.typed, [typed])
    except Exception as error:
        fail(error, typed, Ledger(outputs_of(composed)) if told.mode == RunMode.MULTIRUN else None)
        if elsewhere:
            raise
    else:
        perform(job, wait=alone or elsewhere, raises=elsewhere)


def perform(job: Job, wait: bool, raises: bool = False) -> None:
    """Do a job, if no other process is at it; `raises` what went wrong, once it is reported, for Hydra to carry."""
    signals.check()
    if session.stopped:
        return
    ledger = Ledger(job.config.outputs)
    variant = but_seed(job.typed)
    seeds = session.seeds.get(variant, [])
    try:
        with locks.held(ledger.lock(job.typed), str(job), wait):
            from kdbench import experiment  # brings torch, which bad settings need not wait for

            if ledger.begun(job.typed):
                session.begun.add(ledger.key(job.typed))
            result = experiment.run(job.config, seeds)
            ledger.done(job.typed, result.folder)
    except Busy:
        session.postponed.append(job)
        return
    except Exception as error:
        signals.check()
        fail(error, job.typed, ledger)
        if raises:
            raise  # in another process, where only Hydra can carry it home
    else:
        from kdbench.results.lines import line

        session.rows.append(result.row)
        if job.data != result.row.dataset:
            session.replaced.add((job.data, result.row.dataset))
        done = "  |  was done already" if result.was_done else ""
        tqdm.write(line(result.row, result.folder) + done, file=sys.stdout)
    if session.bar is not None:
        session.bar.update()


def as_typed(told: Any) -> list[str]:
    """Return the settings of a job to the letter: `${...}` in them is for the run's configuration to resolve."""
    return [str(text) for text in OmegaConf.to_container(told.overrides.task, resolve=False)]


def but_seed(overrides: Sequence[str]) -> tuple[str, ...]:
    """Return what the runs of one variant under several seeds have in common."""
    return tuple(text for text in overrides if not text.startswith("seed="))


def config_folders(told: Any) -> list[Path]:
    """Return the folders in which choices are looked for; one given by --config-dir also holds Python files."""
    own = []
    for source in told.runtime.config_sources:
        if source.schema == "file" and source.provider == "command-line":
            own.append(Path(source.path))
            trust.serve(source.path)
    return [*own, config_dir()]


def fail(error: Exception, typed: Sequence[str], ledger: Ledger | None = None) -> None:
    """Report a failed job in one line, and remember it."""
    message = explain(error)
    job = " ".join(typed)
    session.failures.append(f"{job or 'kdbench run'}: {message}")
    session.stopped |= isinstance(error, CannotWrite)
    if session.tracebacks:
        tqdm.write("".join(traceback.format_exception(error)), file=sys.stderr)
    several = bool(session.asked) or (HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN)
    prefix = f"error in {job}: " if several else "error: "
    tqdm.write(prefix + message, file=sys.stderr)
    if ledger is None:
        return
    # A slip of the finger is not work to come back to; what was cut off before is, though it may be refused now.
    slip = isinstance(error, BadSetting) and (ledger.outcome(typed) is None or ledger.key(typed) in session.begun)
    session.slips += slip
    with contextlib.suppress(CannotWrite):
        if slip and session.new and not several:
            ledger.withdraw(session.typed, [typed])
        else:
            ledger.failed(typed, message, final=isinstance(error, BadSetting | NotFinite | Collapsed | CannotCount))


def launch(arguments: Sequence[str], typed: Sequence[str]) -> int:
    """Hand `arguments` to Hydra and return the exit status: 0 only if every job wrote its row.

    `typed` is the command line they stand for, without `kdbench`, to be told how to go on.
    """
    global session
    full_error = os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0")
    session = Session(list(typed), tracebacks=full_error)
    ConfigStore.instance().store(name="schema", node=Schema, provider="kdbench")
    try:
        sys.argv = ["kdbench run", *ordered(arguments)]
        # Hydra prints errors in several lines and exits; with this it hands them over, and we say them in one.
        os.environ["HYDRA_FULL_ERROR"] = "1"
        main = hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="config")(task)
        with terminal.warnings_shown():
            main()
    except SystemExit as stop:  # from Hydra's own argument parser
        return stop.code if isinstance(stop.code, int) else 1
    except Exception as error:
        if session.tracebacks:
            traceback.print_exc()
        print(f"error: {explain(error)}", file=sys.stderr)
        return 1
    finally:
        if not session.tracebacks:
            os.environ.pop("HYDRA_FULL_ERROR", None)
    return report()


def ordered(arguments: Sequence[str]) -> list[str]:
    """Return settings first, then flags: Hydra wants one kind together, people type `-m` anywhere.

    Raises `BadSetting` for flags that Hydra's parser would answer with a page of usage.
    """
    parser = get_args_parser()

    def error(message: str) -> NoReturn:
        raise BadSetting(f"{message}: see kdbench run --help")

    parser.error = error  # type: ignore[method-assign]
    given = parser.parse_intermixed_args(arguments)
    settings = [expanded(text) for text in given.overrides]
    for text in settings:
        if text.startswith("~") and "=" in text:
            raise BadSetting(f"{text} takes away a setting that every run needs: type SETTING=VALUE instead")
        if "=" not in text or not re.fullmatch(r"\+{0,2}[\w./@:-]+", text.partition("=")[0]):
            raise BadSetting(f"'{text}' is not SETTING=VALUE: see kdbench run --help")
        if text == "outputs=":
            raise BadSetting("outputs= names no folder: type outputs=FOLDER, or leave it out")
    if given.config_path or given.config_name or given.experimental_rerun:
        raise BadSetting(
            "--config-path, --config-name and --experimental-rerun are refused: --config-dir adds choices"
        )
    if any(text.lstrip("+~").startswith("hydra.searchpath") for text in settings):
        raise BadSetting("hydra.searchpath is refused: --config-dir adds choices")
    if given.config_dir:
        trust.grant(trust.from_arguments(settings))
        foreign_yaml.require_plain_choices(Path(given.config_dir))
    return [*settings, *(argument for argument in arguments if argument not in given.overrides)]


def expanded(text: str) -> str:
    """Return a setting with the user's home for the `~` of a folder, which the shell leaves and Hydra refuses."""
    folder = re.fullmatch(r"(outputs|data\.root|data\.cache)=(['\"]?)(~(?:/[^,]*?)?)\2", text)
    return text if folder is None else f"{folder[1]}='{Path(folder[3]).expanduser()}'"


def report() -> int:
    """After a sweep, print the whole table and the list of what failed; return the exit status."""
    if session.bar is not None and session.rows:
        from kdbench.results.table import text

        print("\n" + text(session.rows))
    for asked, used in sorted(session.replaced):
        print(f"!! {asked} could not be had: what was run above is {used}, not {asked}", file=sys.stderr)
    if session.asked and session.failures:
        print(f"\n{len(session.failures)} of {len(session.asked)} runs failed:", file=sys.stderr)
        for failure in session.failures:
            print(f"  {failure}", file=sys.stderr)
        if session.stopped:
            print(
                "the others were not begun; to go on, type the same command again:\n  "
                + shlex.join(["kdbench", *session.typed]),
                file=sys.stderr,
            )
    return 1 if session.failures else 0
