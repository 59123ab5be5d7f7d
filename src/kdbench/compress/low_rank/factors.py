"""A linear layer or a convolution as two thinner ones of the same kind: the best of a rank, and what they cost."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def has_factors(layer: nn.Module) -> bool:
    """Whether a layer is of a kind that can be factorized: not a grouped convolution, nor what computes otherwise."""
    return type(layer) is nn.Linear or (type(layer) is nn.Conv2d and layer.groups == 1)


def weights_of_rank_one(layer: nn.Module) -> int:
    """Count the weights of both factors for each value between them."""
    return sum(as_matrix(layer).shape)


def as_matrix(layer: nn.Module) -> Tensor:
    """Return the weights as a matrix, whose factors of lower rank are layers in turn.

    That of a linear layer (outputs, inputs) as it is. That of a convolution as (outputs x width, inputs x height) of
    its kernel: scheme 2 of Jaderberg et al. 2014 (Speeding up Convolutional Neural Networks with Low Rank Expansions,
    section 2.2), of which Tai et al. 2016 (Convolutional Neural Networks with Low-rank Regularization, theorem 1)
    show that the singular value decomposition of this matrix is the best approximation.
    """
    weight = layer.weight
    assert isinstance(weight, Tensor)
    if weight.dim() == 2:
        return weight
    outputs, inputs, height, width = weight.shape
    return weight.permute(0, 3, 1, 2).reshape(outputs * width, inputs * height)


def pair(layer: nn.Module, rank: int) -> nn.Sequential:
    """Return two layers through `rank` values, of whatever weights, that fit in the place of `layer`.

    Of a convolution they are one of `height x 1` and one of `1 x width`, each with the stride, the padding and the
    dilation of its own axis: with all singular values both together are the same function.
    """
    if isinstance(layer, nn.Linear):
        outer = nn.Linear(rank, layer.out_features, bias=layer.bias is not None)
        return nn.Sequential(nn.Linear(layer.in_features, rank, bias=False), outer)
    assert isinstance(layer, nn.Conv2d)
    return nn.Sequential(
        along(layer, 0, layer.in_channels, rank, bias=False),
        along(layer, 1, rank, layer.out_channels, bias=layer.bias is not None),
    )


def along(layer: nn.Conv2d, axis: int, inputs: int, outputs: int, bias: bool) -> nn.Conv2d:
    """Return a convolution that does along one axis of the image, 0 or 1, what `layer` does along both."""

    def own(of_both: tuple[int, ...], elsewhere: int) -> tuple[int, int]:
        return (of_both[0], elsewhere) if axis == 0 else (elsewhere, of_both[1])

    return nn.Conv2d(
        inputs,
        outputs,
        own(layer.kernel_size, 1),
        own(layer.stride, 1),
        layer.padding if isinstance(layer.padding, str) else own(layer.padding, 0),
        own(layer.dilation, 1),
        bias=bias,
        padding_mode=layer.padding_mode,
    )


@torch.no_grad()
def factors(layer: nn.Module, rank: int) -> nn.Sequential:
    """Return the pair whose product is the best approximation of `layer` of that rank, under its bias.

    `W ≈ (U_r sqrt(S_r)) (sqrt(S_r) V_r')`, by the least sum of squared differences (Eckart and Young 1936).
    """
    left, values, right = torch.linalg.svd(as_matrix(layer).double(), full_matrices=False)
    root = values[:rank].sqrt()
    made = pair(layer, rank)
    first, second = made
    first.weight.copy_((root[:, None] * right[:rank]).view_as(first.weight))
    outputs = len(second.weight)
    second.weight.copy_((left[:, :rank] * root).view(outputs, -1, rank).mT.reshape(second.weight.shape))
    if layer.bias is not None:
        second.bias.copy_(layer.bias)
    return made
