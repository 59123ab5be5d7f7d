"""The statistics that batch norm normalises by, taken anew after a network's weights have changed."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from kdbench.compress.step import Run

BATCH = 250  # images, at most


@torch.no_grad()
def take_statistics(network: nn.Module, images: Tensor, run: Run) -> None:
    """Set means and variances of every batch norm, in place, to those of `images` (n, channels, height, width).

    They are the mean over batches of 250 at most, as equal as they can be, which count alike. Weights that were
    pruned change what a layer gives, and the old statistics then normalise by numbers that no longer hold (as Li et
    al. 2020, EagleEye, section 3.2, show for whole channels). Dropout and the like stay off. A network without batch
    norm stays as it is.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    norms = [norm for norm in norms if norm.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean
        norm.train()
    if norms:
        for batch in images.tensor_split(math.ceil(len(images) / BATCH)):
            run(network, batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
