"""What a search may choose from, read from YAML, and how a trial draws from it. Imports neither torch nor Optuna."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kdbench.errors import BadSetting, nearest
from kdbench.settings import checks

if TYPE_CHECKING:
    from optuna import Trial

KEYS = ("from", "to", "log", "whole", "lengths", "layer_of", "when", "choice")


@dataclass(frozen=True)
class Place:
    """A layer of the `student` or the `teacher`, by how far it lies on the way to the logits: 0 is the first."""

    share: float
    of: str


@dataclass(frozen=True)
class Knob:
    """One setting and its values: of a list `choices`, or numbers from `low` to `high`, or a list of such.

    `when` names the values of other knobs under which it is there at all. `lengths` are the least and the most
    numbers of a list. `layer_of`: its values are layers of the `student` or the `teacher`, drawn as a `Place`.
    """

    name: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    whole: bool = False
    lengths: tuple[int, int] | None = None
    layer_of: str | None = None
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def draw(self, trial: Trial) -> Any:
        """Return the value that the trial has."""
        if any(isinstance(value, list | Mapping) for value in self.choices):
            named = {str(value): value for value in self.choices}  # Optuna chooses from words and numbers
            return named[trial.suggest_categorical(self.name, list(named))]
        if self.choices:
            return trial.suggest_categorical(self.name, self.choices)
        if self.layer_of:
            return Place(trial.suggest_float(self.name, 0, 1), self.layer_of)
        if self.lengths is None:
            return self.number(trial, self.name)
        count = trial.suggest_int(f"{self.name} length", *self.lengths)
        return [self.number(trial, f"{self.name} {place}") for place in range(count)]

    def number(self, trial: Trial, name: str) -> float:
        """Return a number in the range."""
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        return float(f"{trial.suggest_float(name, self.low, self.high, log=self.log):.3g}")  # as it can be typed


@dataclass(frozen=True)
class Space:
    """All that a search may choose from. Knobs stand after those that their `when` names."""

    knobs: Sequence[Knob]

    def draw(self, trial: Trial) -> dict[str, Any]:
        """Return the settings of a trial by their names."""
        drawn: dict[str, Any] = {}
        for knob in self.knobs:
            if all(drawn.get(other) in values for other, values in knob.when.items()):
                drawn[knob.name] = knob.draw(trial)
        return drawn


def space_of(node: Any) -> Space:
    """Return the space that a YAML describes. Raises `BadSetting`."""
    if not isinstance(node, Mapping) or not node:
        raise BadSetting("space names no settings to choose from")
    knobs = [knob_of(str(name), said) for name, said in node.items()]
    for place, knob in enumerate(knobs):
        before = [one.name for one in knobs[:place]]
        for other in knob.when:
            if other not in before:
                raise BadSetting(f"space: {knob.name} is there when {other} is, which must stand before it")
    return Space(knobs)


def knob_of(name: str, node: Any) -> Knob:
    """Return one setting and its values. Raises `BadSetting`."""
    if isinstance(node, list):
        node = {"choice": node}
    if not isinstance(node, Mapping):
        raise BadSetting(f"space: {name} is neither a list of values nor a range such as {{from: 1, to: 10}}")
    for key in node:
        if key not in KEYS:
            raise BadSetting(f"space: {name} has {key}, which is not known: {nearest(str(key), KEYS)}")
    when = {str(other): tuple(values) for other, values in dict(node.get("when") or {}).items()}
    if "choice" in node:
        if not node["choice"]:
            raise BadSetting(f"space: {name} has no values")
        return Knob(name, tuple(node["choice"]), when=when)
    if "layer_of" in node:
        if node["layer_of"] not in ("student", "teacher"):
            raise BadSetting(f"space: {name} is a layer of the student or of the teacher, not of {node['layer_of']}")
        return Knob(name, layer_of=str(node["layer_of"]), when=when)
    try:
        low, high = float(node["from"]), float(node["to"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadSetting(f"space: {name} has no range such as {{from: 1, to: 10}}") from error
    log = bool(node.get("log", False))
    checks.real(f"space: {name} to", high, f"[{low:g}, inf)")
    if log and low <= 0:
        raise BadSetting(f"space: {name} begins at {low:g}: a log scale begins above 0")
    lengths = node.get("lengths")
    if lengths is not None:
        lengths = (int(lengths[0]), int(lengths[1]))
    return Knob(name, (), low, high, log, bool(node.get("whole", False)), lengths, None, when)
