"""A run that was asked for, and one that failed."""

from __future__ import annotations

from dataclasses import dataclass

from kdbench.settings.config import Config


@dataclass(frozen=True)
class PlannedRun:
    """One run as it was asked for: the settings typed, and what they came to."""

    typed: list[str]
    config: Config

    def __str__(self) -> str:
        return in_words(self.typed)


@dataclass(frozen=True)
class Failure:
    """A run that failed, and why; `final`: another try would fail alike."""

    typed: list[str]
    message: str
    final: bool

    @property
    def name(self) -> str:
        """The settings of the run, as typed."""
        return in_words(self.typed)


def in_words(typed: list[str]) -> str:
    """Return the settings of a run as they were typed."""
    return " ".join(typed) or "kdbench run"
