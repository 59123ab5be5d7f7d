"""A run that was asked for, and one that failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdbench.cli.messages import explain
from kdbench.errors import BadSetting, Collapsed, NotFinite
from kdbench.results.ledger import Ledger
from kdbench.settings.config import Config
from kdbench.storage import locks

if TYPE_CHECKING:
    from kdbench.experiment import Result


@dataclass(frozen=True)
class PlannedRun:
    """One run as it was asked for: the settings typed, and what they came to."""

    typed: list[str]
    config: Config

    def __str__(self) -> str:
        return in_words(self.typed)

    def do(
        self,
        started: Callable[[Path], None],
        say: Callable[[str], None] = lambda _: None,
        wait: bool = True,
        seeds: Sequence[int] = (),
        threads: int | None = None,
    ) -> Result:
        """Do it, unless another process is at it: that is waited for, or, without `wait`, `Busy` is raised.

        `started`, `seeds` and `threads` are those of `experiment.run`; `say` is called with what is done.
        """
        with locks.held(Ledger(self.config.outputs).lock(self.typed), str(self), wait):
            say("loading")
            from kdbench import experiment  # brings torch, which bad settings need not wait for

            result = experiment.run(self.config, seeds, started, say, threads)
            if result.was_done:
                started(result.folder)
        return result


@dataclass(frozen=True)
class Failure:
    """A run that failed, and why; `final`: another try would fail alike."""

    typed: list[str]
    message: str
    final: bool

    @classmethod
    def of(cls, typed: Sequence[str], error: Exception) -> Failure:
        """Return what there is to say of a run that raised `error`."""
        return cls(list(typed), explain(error), isinstance(error, BadSetting | NotFinite | Collapsed))

    @property
    def name(self) -> str:
        """The settings of the run, as typed."""
        return in_words(self.typed)


def in_words(typed: list[str]) -> str:
    """Return the settings of a run as they were typed."""
    return " ".join(typed) or "kdbench run"
