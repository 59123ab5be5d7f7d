"""Which weights are pruned: from a score for each, masks of 0 (pruned) and 1 (kept) of the same shape.

Scores and masks stand under the names of the weights. Among equal scores the earlier is pruned first, so that ties
change no count. Scores are at least 0, but for weights that are zero already (`zeros_first`): all of these are
pruned, even where they are more than was asked for.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def magnitudes(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the size of each weight as its score."""
    return zeros_first({name: weight.abs() for name, weight in weights.items()}, weights)


def zeros_first(scores: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return scores that are below 0 where a weight is zero already."""
    return {name: score.masked_fill(weights[name].to(score.device) == 0, -1.0) for name, score in scores.items()}


def over_the_network(scores: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    """Return masks with exactly round(sparsity * total) zeros, at the lowest scores of all layers together."""
    everything = torch.cat([score.flatten() for score in scores.values()])
    mask = lowest(everything, round(sparsity * len(everything)))
    parts = mask.split([score.numel() for score in scores.values()])
    return {name: part.view_as(score) for part, (name, score) in zip(parts, scores.items(), strict=True)}


def layer_by_layer(scores: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    """Return masks with exactly round(sparsity * size) zeros in each layer, at its lowest scores.

    A layer that would lose all of its weights keeps one, and the largest layer loses one more in its place.
    """
    sizes = [score.numel() for score in scores.values()]
    return in_each(scores, with_one_left([round(sparsity * size) for size in sizes], sizes))


def in_each(scores: Mapping[str, Tensor], counts: Sequence[int]) -> dict[str, Tensor]:
    """Return masks with so many zeros in each layer, at its lowest scores."""
    return {
        name: lowest(score.flatten(), count).view_as(score)
        for (name, score), count in zip(scores.items(), counts, strict=True)
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
    """Return a mask float (n,) that is 0 at the lowest `count` of scores (n,), and wherever they are below 0."""
    if not count:
        return (scores >= 0).float()
    greatest = scores.kthvalue(count).values  # of those that go: to find it takes a tenth of the time of sorting
    mask = (scores >= greatest).float()
    equal = (scores == greatest).nonzero().flatten()
    mask[equal[: count - int((scores < greatest).sum())]] = 0
    return mask.masked_fill_(scores < 0, 0)


def with_one_left(counts: Sequence[int], sizes: Sequence[int]) -> list[int]:
    """Return counts, as many together, of which none is all of a layer: what is too many goes to the largest.

    Where they leave fewer weights than there are layers, they stay as they are.
    """
    if sum(counts) > sum(sizes) - len(sizes):
        return list(counts)
    capped = [min(count, size - 1) for count, size in zip(counts, sizes, strict=True)]
    for number in sorted(range(len(sizes)), key=lambda number: -sizes[number]):
        capped[number] += min(sum(counts) - sum(capped), sizes[number] - 1 - capped[number])
    return capped


def at_least(zeros: Sequence[int], counts: Sequence[int]) -> list[int]:
    """Return counts, as many together, of which none is less than the `zeros` that its layer has already.

    What these are too many is taken from the other layers, in proportion to what is still to be pruned there.
    """
    raised = list(map(max, zeros, counts))
    new = [count - zero for count, zero in zip(raised, zeros, strict=True)]
    fewer = shared_out(min(sum(raised) - sum(counts), sum(new)), new)
    return [count - less for count, less in zip(raised, fewer, strict=True)]


def shared_out(count: int, sizes: Sequence[int]) -> list[int]:
    """Return whole shares of `count`, one a size, in proportion to them; together they are `count`."""
    ends = [round(count * upto / max(1, sum(sizes))) for upto in itertools.accumulate(sizes)]
    return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]


def share_of_zeros(masks: Mapping[str, Tensor]) -> float:
    """Return the share of weights that masks prune."""
    total = sum(mask.numel() for mask in masks.values())
    return 1 - sum(float(mask.sum()) for mask in masks.values()) / total
