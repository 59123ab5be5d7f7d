"""One network to be trained, and how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from kdbench.training.checkpoint import Checkpoint
from kdbench.training.constraints import Constraint
from kdbench.training.criteria import LABELS, Criterion

if TYPE_CHECKING:
    from kdbench.training.progress import Epoch


@dataclass(frozen=True)
class Learner:
    """A network to be trained in place: the seed of its images, what it minimises, and what must hold of its weights.

    A training with a `checkpoint` goes on where that stands, to the same weights bit for bit on a CPU.
    """

    model: nn.Module
    seed: int
    criterion: Criterion = LABELS
    constraints: Sequence[Constraint] = ()
    title: str = "training"
    checkpoint: Checkpoint | None = None
    views_known: bool = True  # whether the images are those that answers of teachers are kept for
    watch: Callable[[Epoch], None] = lambda _: None  # is called with each epoch, and may end the training by raising

    @property
    def step(self) -> int:
        """How many steps are done already, by a process that was cut off."""
        return self.checkpoint.step if self.checkpoint else 0

    @property
    def needs_the_network_alone(self) -> bool:
        """Whether its criterion reads or trains more than the logits of a network that is stacked with others."""
        kind = type(self.criterion)
        return (
            bool(self.criterion.layers) or self.criterion.modules is not None or kind.prepare is not Criterion.prepare
        )
