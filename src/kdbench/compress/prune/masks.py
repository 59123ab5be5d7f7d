"""Which weights are pruned: from a score for each, masks of 0 (pruned) and 1 (kept) of the same shape.

Scores and masks stand under the names of the weights. Among equal scores the earlier is pruned first, so that ties
change no count.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def over_the_network(scores: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    """Return masks with exactly round(sparsity * total) zeros, at the lowest scores of all layers together."""
    everything = torch.cat([score.flatten() for score in scores.values()])
    mask = lowest(everything, round(sparsity * len(everything)))
    parts = mask.split([score.numel() for score in scores.values()])
    return {name: part.view_as(score) for part, (name, score) in zip(parts, scores.items(), strict=True)}


def layer_by_layer(scores: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    """Return masks with exactly round(sparsity * size) zeros in each layer, at its lowest scores."""
    return {
        name: lowest(score.flatten(), round(sparsity * score.numel())).view_as(score)
        for name, score in scores.items()
    }


def n_of_m(score: Tensor, kept: int, group: int) -> Tensor:
    """Return a mask that keeps the highest `kept` of every `group` inputs in a row, for each output.

    Inputs are the second axis: the columns of a matrix, the channels of a convolution, at each place of its kernel.
    """
    inputs_last = score.movedim(1, -1)
    groups = inputs_last.reshape(-1, group)
    mask = torch.zeros_like(groups).scatter_(1, groups.argsort(dim=1, stable=True)[:, group - kept :], 1.0)
    return mask.view_as(inputs_last).movedim(-1, 1).contiguous()


def lowest(scores: Tensor, count: int) -> Tensor:
    """Return a mask float (n,) that is 0 at the lowest `count` of scores (n,)."""
    mask = torch.ones_like(scores, dtype=torch.float32)
    mask[scores.argsort(stable=True)[:count]] = 0
    return mask


def share_of_zeros(masks: Mapping[str, Tensor]) -> float:
    """Return the share of weights that masks prune."""
    total = sum(mask.numel() for mask in masks.values())
    return 1 - sum(float(mask.sum()) for mask in masks.values()) / total
