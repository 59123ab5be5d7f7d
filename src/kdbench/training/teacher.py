"""A teacher as the student sees it: logits for a batch, without gradients, never changed."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from kdbench.storage.store import Speech
from kdbench.training.batches import Batch, Batches
from kdbench.training.runtime import Runtime


def say(view: int, speak: Callable[[int], Speech]) -> tuple[Speech, bool]:
    """Keep nothing: speak anew."""
    return speak(view), False


class Teacher:
    """Calling it with a batch gives the network's logits (n, 10) float32 for the images in it.

    A teacher speaks once about each view of the training set (see `Batch`): its logits are kept by the index
    of the image, never by the order of batches. All students who see the same views share what was said, if
    `memory` recalls it, or lets it speak and remembers; it also tells whether it recalled. `views` must be cut and
    shifted as the student's are. The network is put into eval mode on the training device; its weights and
    statistics stay as they are. `recalled_seconds` is what speaking would have taken, had nothing been recalled; the
    view last `heard` is counted there already.
    """

    def __init__(
        self,
        network: nn.Module,
        views: Batches,
        runtime: Runtime,
        memory: Callable[[int, Callable[[int], Speech]], tuple[Speech, bool]] = say,
    ) -> None:
        self.network = network.to(runtime.device, memory_format=torch.channels_last).eval()
        self.views = views
        self.runtime = runtime
        self.memory = memory
        self.recalled_seconds = 0.0
        self.heard: int | None = None
        self.view: int | None = None
        self.logits = torch.empty(0)

    def __call__(self, batch: Batch) -> Tensor:
        """Return logits (n, 10) for the images of `batch`."""
        if batch.view != self.view:
            speech, recalled = self.memory(batch.view, self.speak)
            if recalled and batch.view != self.heard:
                self.recalled_seconds += speech.seconds
            self.heard = self.view = batch.view
            self.logits = speech.logits.to(self.runtime.device)
        return self.logits[batch.index].float()

    @torch.no_grad()
    def speak(self, view: int) -> Speech:
        """Run the network over the whole training set, in the same precision as the student."""
        began = time.perf_counter()
        with self.runtime.autocast:
            said = [self.network(batch.images) for batch in self.views.in_order(view)]
        logits = torch.cat(said).cpu()  # waits for the device, so that the seconds are true
        return Speech(logits, time.perf_counter() - began)
