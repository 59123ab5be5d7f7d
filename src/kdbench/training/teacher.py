"""A teacher as the student sees it: logits for a batch, without gradients, never changed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdbench.data.splits import Split
from kdbench.training.batches import Batch, plain
from kdbench.training.fit import EVALUATION_BATCH
from kdbench.training.runtime import Runtime


class Teacher:
    """Calling it with a batch gives the network's logits (n, 10) float32.

    Where the images are not augmented every image looks the same in every epoch, so the teacher speaks once
    and its logits are kept by the index of the image. Where they are, it sees what the student sees.
    The network is put into eval mode on the training device; its weights and statistics stay as they are.
    """

    def __init__(self, network: nn.Module, train: Split, augmented: bool, runtime: Runtime) -> None:
        self.network = network.to(runtime.device, memory_format=torch.channels_last).eval()
        self.runtime = runtime
        self.train = train
        self.augmented = augmented
        self.kept: Tensor | None = None

    def __call__(self, batch: Batch) -> Tensor:
        """Return logits (n, 10) for the images of `batch`."""
        if self.augmented:
            return self.logits(batch)
        if self.kept is None:
            spoken = [self.logits(part) for part in plain(self.train, EVALUATION_BATCH, self.runtime.device)]
            self.kept = torch.cat(spoken)
        return self.kept[batch.index]

    @torch.no_grad()
    def logits(self, batch: Batch) -> Tensor:
        """Run the network, in the same precision as the student."""
        self.network.eval()
        with self.runtime.autocast:
            return self.network(batch.images).float()
