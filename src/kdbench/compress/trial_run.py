"""Whether a network still gives logits after its layers were changed."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from kdbench.models.network import first_line


@torch.no_grad()
def fault(network: nn.Module, image_shape: Sequence[int], classes: int) -> str | None:
    """Return in one line why `network` gives no logits (n, classes) for images; None: it gives them."""
    trial = copy.deepcopy(network).cpu().eval()
    try:
        shape = tuple(trial(torch.zeros(2, *image_shape)).shape)
    except Exception as error:  # whatever a forward of the user's own makes of layers that it does not expect
        return first_line(error)
    return None if shape == (2, classes) else f"it gives outputs of shape {shape[1:]}"
