"""What steps have in common that change a network at one go and then train it on for a while."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from kdbench.compress.batch_norm import take_statistics
from kdbench.compress.step import FINETUNE_SHARE, NetworkStep, Task
from kdbench.errors import BadSetting
from kdbench.settings import checks
from kdbench.training.constraints import Constraint


@dataclass(frozen=True, kw_only=True)
class FineTuned(NetworkStep):
    """A step that ends with `fine_tune`, by the recipe of the network."""

    finetune_epochs: int | None  # None: a quarter of train.epochs, 1 at least; 0: none
    finetune_lr_scale: float  # share of train.lr at the peak of the fine-tuning

    def __post_init__(self) -> None:
        if self.finetune_epochs is not None:
            checks.whole("compress.finetune_epochs", self.finetune_epochs, 0)
        checks.real("compress.finetune_lr_scale", self.finetune_lr_scale, "(0, inf)")

    def fine_tune(self, network: nn.Module, task: Task, constraint: Constraint | None = None) -> None:
        """Train the changed network in place; `constraint` is what must hold after every step."""
        if self.finetune_epochs != 0:
            epochs, scale = self.finetune_epochs, self.finetune_lr_scale
            task.fit(network, epochs=epochs, share=FINETUNE_SHARE, lr_scale=scale, constraint=constraint)


@dataclass(frozen=True, kw_only=True)
class Recalibrated(FineTuned):
    """A step after which batch norm has statistics of another network."""

    statistics: int  # training images of which batch norm takes its statistics anew; 0: it keeps the old ones

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole("compress.statistics", self.statistics, 0)
        if self.statistics == 1:
            raise BadSetting(
                "compress.statistics=1: one image has no variance: type 2 or more, or 0 to take none anew"
            )

    def fine_tune(self, network: nn.Module, task: Task, constraint: Constraint | None = None) -> None:
        """Take the statistics anew, then train."""
        if self.statistics:
            take_statistics(network, task.data.to_calibrate(self.statistics), task.run)
        super().fine_tune(network, task, constraint)
