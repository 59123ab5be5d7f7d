"""Label smoothing: soft targets without a teacher, the control that distillation has to beat."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.compress.step import NetworkStep, Task
from kdbench.settings import checks
from kdbench.training.batches import Batch
from kdbench.training.criteria import Criterion
from kdbench.training.features import Output


@dataclass(frozen=True)
class SmoothLabels(NetworkStep):
    """Train the network from scratch on labels that leave every class a little probability."""

    smoothing: float  # the probability that is shared by all classes alike, in [0, 1)

    from_scratch: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.real("compress.smoothing", self.smoothing, "[0, 1)")

    def __call__(self, model: nn.Module, task: Task) -> nn.Module:
        """Return the network; `model` gives the weights it starts from."""
        network = copy.deepcopy(model)
        task.fit(network, SmoothedLabels(self.smoothing))
        return network


class SmoothedLabels(Criterion):
    """Cross-entropy against `(1 - smoothing) * label + smoothing / classes`.

    Szegedy et al. 2016 (Rethinking the Inception Architecture, section 7), with the uniform distribution.
    """

    def __init__(self, smoothing: float) -> None:
        self.smoothing = smoothing

    def __call__(self, output: Output, batch: Batch) -> Tensor:
        """Return the mean over the batch."""
        return F.cross_entropy(output.logits, batch.labels, label_smoothing=self.smoothing)
