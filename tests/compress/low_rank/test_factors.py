"""Two layers in the place of one: the same function at full rank, and the best approximation below."""

import pytest
import torch
from torch import nn

from kdbench.compress.low_rank.factors import as_matrix, factors, has_factors, weights_of_rank_one

CONVOLUTIONS = [
    {},
    {"stride": 2},
    {"stride": (2, 3), "padding": (2, 1)},
    {"padding": 1, "dilation": (1, 2)},
    {"kernel_size": (3, 2), "padding": "same"},
    {"kernel_size": (5, 1), "padding": (2, 0)},
    {"kernel_size": 1},
    {"padding": 2, "padding_mode": "reflect"},
    {"padding": 1, "padding_mode": "circular", "bias": False},
]


def layer_of(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(inputs, outputs, bias=bias)


def convolution_of(inputs: int = 4, outputs: int = 6, **knobs) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(inputs, outputs, **{"kernel_size": 3} | knobs)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("inputs", "outputs"), [(12, 7), (7, 12), (9, 9)])
def test_at_full_rank_two_layers_are_the_same_function(inputs, outputs, bias):
    layer = layer_of(inputs, outputs, bias)
    made = factors(layer, min(inputs, outputs))
    images = torch.randn(20, inputs)
    assert torch.allclose(made(images), layer(images), atol=1e-5)


@pytest.mark.parametrize("knobs", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize(("inputs", "outputs"), [(4, 6), (6, 4), (1, 5)])
def test_at_full_rank_two_convolutions_are_the_same_function(inputs, outputs, knobs):
    layer = convolution_of(inputs, outputs, **knobs)
    made = factors(layer, min(as_matrix(layer).shape))
    images = torch.randn(3, inputs, 11, 13)
    assert torch.allclose(made(images), layer(images), atol=1e-5)


@pytest.mark.parametrize("layer", [layer_of(12, 7), layer_of(7, 12), *(convolution_of(**k) for k in CONVOLUTIONS)])
def test_rank_counts_the_weights_of_both(layer):
    for rank in (1, 3):
        made = factors(layer, rank)
        assert sum(one.weight.numel() for one in made) == rank * weights_of_rank_one(layer)


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_the_error_is_the_tail_of_the_singular_values_so_none_of_that_rank_is_less(rank):
    layer = layer_of(12, 7)
    made = factors(layer, rank)
    product = made[1].weight @ made[0].weight
    values = torch.linalg.svdvals(layer.weight)
    assert torch.linalg.matrix_norm(layer.weight - product).item() == pytest.approx(
        values[rank:].square().sum().sqrt().item(), rel=1e-4
    )
    assert torch.linalg.matrix_norm(layer.weight - product, 2).item() == pytest.approx(values[rank].item(), rel=1e-4)
    assert torch.linalg.matrix_rank(product).item() == rank
    random = torch.Generator().manual_seed(0)
    for _ in range(5):  # nor is one beside it
        other = made[1].weight @ (made[0].weight + 1e-2 * torch.randn(rank, 12, generator=random))
        assert torch.linalg.matrix_norm(layer.weight - other) > torch.linalg.matrix_norm(layer.weight - product)


@pytest.mark.parametrize("rank", [1, 4, 9])
@pytest.mark.parametrize("kernel", [(3, 3), (3, 5)], ids=str)
def test_the_kernels_of_two_convolutions_are_as_far_from_the_one_as_singular_values_say(rank, kernel):
    layer = convolution_of(kernel_size=kernel)
    first, second = factors(layer, rank)
    product = torch.einsum("oriw,rciu->ocuw", second.weight, first.weight.transpose(2, 3))
    values = torch.linalg.svdvals(as_matrix(layer))
    assert product.shape == layer.weight.shape
    assert (layer.weight - product).norm().item() == pytest.approx(values[rank:].norm().item(), rel=1e-4)


def test_both_factors_have_the_same_share_of_the_singular_values():
    for layer in (layer_of(12, 7), convolution_of()):
        first, second = factors(layer, 4)
        values = torch.diag(torch.linalg.svdvals(as_matrix(layer))[:4])
        before, after = first.weight.flatten(1), second.weight.transpose(0, 1).flatten(1)
        assert torch.allclose(before @ before.T, values, atol=1e-5)
        assert torch.allclose(after @ after.T, values, atol=1e-5)
        assert first.bias is None
        assert torch.equal(second.bias, layer.bias)


def test_what_is_grouped_or_computes_otherwise_has_no_factors():
    class Own(nn.Linear):
        pass

    assert has_factors(convolution_of())
    assert not has_factors(convolution_of(4, 8, groups=2))
    assert not has_factors(convolution_of(4, 4, groups=4))
    assert not has_factors(Own(3, 3))
    assert not has_factors(nn.ConvTranspose2d(4, 6, 3))
