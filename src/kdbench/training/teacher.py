"""A teacher as a student sees it: its output for a batch, without gradients, never changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from kdbench.training import features
from kdbench.training.batches import Batch, Batches
from kdbench.training.features import Output
from kdbench.training.runtime import Runtime
from kdbench.training.spent import Spent


class Teacher:
    """Calling it with a batch gives the network's output for the images in it.

    Where the images are a known view of the training set (see `Batch.known_view`) and no features are asked for, the
    logits come from `cached`, which gives them for a whole view by the index of the image: (n, classes), float. For
    images that anybody changed, and without `cached`, the network is run. It is put into eval mode on the training
    device; its weights and statistics stay as they are, and have no gradients.
    """

    def __init__(self, network: nn.Module, runtime: Runtime, cached: Callable[[int], Tensor] | None = None) -> None:
        self.network = network.to(runtime.device, memory_format=torch.channels_last).eval().requires_grad_(False)
        self.runtime = runtime
        self.cached = cached
        self.view: int | None = None
        self.logits = torch.empty(0)

    def __call__(self, batch: Batch, layers: Sequence[str] = ()) -> Output:
        """Return logits (n, classes) in float32, and the features of `layers`, for the images of `batch`.

        Raises `BadSetting` for a layer that there is not.
        """
        view = batch.known_view
        if layers or view is None or self.cached is None:
            return self.run(batch.images, layers)
        if view != self.view:
            self.logits = self.cached(view).to(self.runtime.device)
            self.view = view
        return Output(self.logits[batch.index].float())

    @torch.no_grad()
    def run(self, images: Tensor, layers: Sequence[str] = ()) -> Output:
        """Run the network on images float32 (n, channels, height, width), in the same precision as the student."""
        self.network.eval()
        with self.runtime.autocast:
            return features.in_float32(features.run(self.network, images, layers))

    @torch.no_grad()
    def logits_of(self, views: Batches, number: int) -> tuple[Tensor, Spent]:
        """Return logits (n, classes) for the whole training set as the view shows it, and what they took."""
        began = Spent.now()
        self.network.eval()
        with self.runtime.autocast:
            parts = [self.network(batch.images) for batch in views.in_order(number)]
        logits = torch.cat(parts).cpu()  # waits for the device, so that the time is true
        return logits, Spent.now() - began
