"""`run` and `sweep`: Hydra composes, launches and repeats; errors end as one line each."""

from __future__ import annotations

import logging
import os
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
from omegaconf import DictConfig
from tqdm import tqdm

from kdbench.choices import config_dir
from kdbench.compose import resolve
from kdbench.config import Schema
from kdbench.errors import BadSetting
from kdbench.messages import explain

if TYPE_CHECKING:
    from kdbench.results.row import Row

log = logging.getLogger("kdbench")

LOCAL_LAUNCHER = "BasicLauncher"


@dataclass
class Session:
    """What happened in this process: the rows written, the jobs that failed, the bar over a sweep."""

    rows: list[Row] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    replaced: set[tuple[str, str]] = field(default_factory=set)  # data sets asked for, and used instead
    # Of a multirun's variants that no job has begun yet: the seeds of all their jobs.
    seeds: dict[tuple[str, ...], list[int]] = field(default_factory=dict)
    bar: tqdm[Any] | None = None
    tracebacks: bool = False  # asked for by HYDRA_FULL_ERROR

    def reset(self) -> None:
        """Forget what an earlier command in the same process did."""
        self.rows.clear()
        self.failures.clear()
        self.replaced.clear()
        self.seeds.clear()
        self.bar = None
        self.tracebacks = os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0")


session = Session()


class SweepBar(Callback):
    """Hydra's callback for a multirun: one bar over its jobs, quiet when output is not a terminal."""

    def on_multirun_start(self, config: DictConfig, **_: object) -> None:
        """Count the jobs as Hydra's own sweeper does, and start the bar."""
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
        from hydra.core.global_hydra import GlobalHydra
        from hydra.core.override_parser.overrides_parser import OverridesParser

        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        overrides = parser.parse_overrides(list(config.hydra.overrides.task))
        jobs = [job for batch in BasicSweeper.split_arguments(overrides, None) for job in batch]
        for job in jobs:
            seeds = session.seeds.setdefault(but_seed(job), [])
            typed = [text.partition("=")[2] for text in job if text.startswith("seed=")]
            seeds += [int(seed) for seed in typed if seed.isdecimal()]
        session.bar = tqdm(total=len(jobs), desc="sweep", unit="run", disable=None, position=0)
        session.bar.refresh()

    def on_multirun_end(self, config: DictConfig, **_: object) -> None:
        """Close the bar."""
        if session.bar is not None:
            session.bar.close()


def task(composed: DictConfig) -> None:
    """Run one job. A failure is reported here, when it happens; the other jobs of a sweep go on."""
    told = HydraConfig.get()
    try:
        folders = config_folders(told)
        config = resolve(composed, dict(told.runtime.choices), list(told.overrides.task), folders)
        from kdbench import experiment  # brings torch, which bad settings need not wait for

        result = experiment.run(config, session.seeds.pop(but_seed(told.overrides.task), ()))
    except Exception as error:
        fail(error, " ".join(told.overrides.task))
        if not told.launcher._target_.endswith(LOCAL_LAUNCHER):
            raise  # in another process, where only Hydra can carry it home
    else:
        from kdbench.results.lines import line

        session.rows.append(result.row)
        asked, used = told.runtime.choices["data"], result.row.dataset
        if asked != used:
            session.replaced.add((asked, used))
        tqdm.write(line(result.row, result.folder), file=sys.stdout)
    if session.bar is not None:
        session.bar.update()


def but_seed(overrides: Sequence[str]) -> tuple[str, ...]:
    """Return what the runs of one variant under several seeds have in common."""
    return tuple(text for text in overrides if not text.startswith("seed="))


def config_folders(told: Any) -> list[Path]:
    """Return the folders in which choices are looked for; one given by --config-dir also holds Python files."""
    own = []
    for source in told.runtime.config_sources:
        if source.schema == "file" and source.provider == "command-line":
            own.append(Path(source.path))
            if source.path not in sys.path:
                sys.path.insert(0, source.path)
    return [*own, config_dir()]


def fail(error: Exception, job: str) -> None:
    """Report a failed job in one line, and remember it."""
    message = explain(error)
    session.failures.append(f"{job or 'kdbench run'}: {message}")
    if session.tracebacks:
        tqdm.write(traceback.format_exc(), file=sys.stderr)
    prefix = f"error in {job}: " if HydraConfig.get().mode == RunMode.MULTIRUN else "error: "
    tqdm.write(prefix + message, file=sys.stderr)


class _Terminal(logging.Handler):
    """Messages above and not across the progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


def launch(arguments: Sequence[str]) -> int:
    """Hand `arguments` to Hydra and return the exit status: 0 only if every job wrote its row."""
    session.reset()
    ConfigStore.instance().store(name="schema", node=Schema, provider="kdbench")
    terminal = _Terminal(logging.WARNING)
    log.propagate = False
    log.addHandler(terminal)
    try:
        sys.argv = ["kdbench run", *ordered(arguments)]
        # Hydra prints errors in several lines and exits; with this it hands them over, and we say them in one.
        os.environ["HYDRA_FULL_ERROR"] = "1"
        main = hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="config")(task)
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
        log.removeHandler(terminal)
        log.propagate = True
    return report()


def ordered(arguments: Sequence[str]) -> list[str]:
    """Return settings first, then flags: Hydra wants one kind together, people type `-m` anywhere.

    Raises `BadSetting` for flags that Hydra's parser would answer with a page of usage.
    """
    parser = get_args_parser()

    def error(message: str) -> NoReturn:
        raise BadSetting(f"{message}: see kdbench run --help")

    parser.error = error  # type: ignore[method-assign]
    settings = parser.parse_intermixed_args(arguments).overrides
    return [*settings, *(argument for argument in arguments if argument not in settings)]


def report() -> int:
    """After a sweep, print the whole table and the list of what failed; return the exit status."""
    if session.bar is not None and session.rows:
        from kdbench.results.table import text

        print("\n" + text(session.rows))
    for asked, used in sorted(session.replaced):
        print(f"!! {asked} could not be had: what was run above is {used}, not {asked}", file=sys.stderr)
    if session.bar is not None and session.failures:
        print(f"\n{len(session.failures)} of {session.bar.total} runs failed:", file=sys.stderr)
        for failure in session.failures:
            print(f"  {failure}", file=sys.stderr)
    return 1 if session.failures else 0
