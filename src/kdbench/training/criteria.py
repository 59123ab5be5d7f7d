"""What a training minimises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.training.batches import Batch
from kdbench.training.features import Output


class Criterion(ABC):
    """What a training minimises: called with the network's output for a batch, it gives a scalar.

    `layers` names the submodules of the network whose outputs it reads beside the logits. `modules` are trained along
    with the network (the regressor of a hint, say), checkpointed with it, and dropped after, at `modules_lr_scale`
    times its learning rate; parameters that a loss depends on and that stand neither there nor in the network are an
    error.
    """

    layers: Sequence[str] = ()
    modules: nn.Module | None = None
    modules_lr_scale: float = 1.0

    def prepare(self, batch: Batch, network: nn.Module) -> Batch:
        """Return the batch that the network is shown in the place of `batch`: mixed, attacked, or as it is."""
        return batch

    @abstractmethod
    def __call__(self, output: Output, batch: Batch) -> Tensor:
        """Return the loss: a scalar, the mean over the batch."""


class Labels(Criterion):
    """Cross-entropy against the labels: the criterion of everything that has no teacher."""

    def __call__(self, output: Output, batch: Batch) -> Tensor:
        """Return the mean cross-entropy."""
        return cross_entropy(output.logits, batch.labels)


LABELS = Labels()


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of the softmax of `logits` (n, classes) against int64 `labels` (n,), or probabilities."""
    return F.cross_entropy(logits, labels)
