"""A run in a process that is not kdbench's own: one at a time, in silence, and what it changes is put back."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Iterator, Sequence

import torch
from tqdm import tqdm

from kdbench import experiment
from kdbench.cli.terminal import Above, handled_by
from kdbench.data import load
from kdbench.experiment import Result
from kdbench.results.lines import line
from kdbench.settings import bars, code, own_folder
from kdbench.settings.config import Config
from kdbench.storage import mirror, store

_turn = threading.RLock()  # torch's random state and its threads are the process's


def forget() -> None:
    """Let the next call find data, code and files as they are then, whatever this process has read of them."""
    load.forget()
    own_folder.forget_modules()
    code.forget()  # after it: code whose modules stay is not forgotten
    store.forget()
    mirror.forget()


def run(config: Config, seeds: Sequence[int] = (), progress: bool = False) -> Result:
    """Do a run, as `experiment.run` says; with `progress` show bars and warnings, and print its line."""
    with as_before(progress):
        result = experiment.run(config, seeds)
        if progress:
            remarks = ["was done already"] if result.was_done else []
            tqdm.write(line(result.row, result.folder, None, (), *remarks))
    return result


@contextlib.contextmanager
def as_before(progress: bool) -> Iterator[None]:
    """A context, for one thread at a time, after which random numbers, threads and logging are as they were."""
    log = logging.getLogger("kdbench")
    with _turn, bars.drawn(progress), torch.random.fork_rng(range(torch.cuda.device_count())):
        level, threads = log.level, torch.get_num_threads()
        handler = Above(logging.WARNING) if progress else _Onwards(log.getEffectiveLevel())
        try:
            with handled_by(handler):
                yield
        finally:
            log.setLevel(level)
            torch.set_num_threads(threads)


class _Onwards(logging.Handler):
    """To the handlers that the program has set up, messages of the level that it has asked for.

    A run raises kdbench's own level, for `run.log`, so that all would come through otherwise.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Hand the message on."""
        root = logging.getLogger()
        if root.handlers:  # without any, Python would print it
            root.handle(record)


def report(text: str) -> None:
    """Print a line above the bars, on stderr."""
    tqdm.write(text, file=sys.stderr)
