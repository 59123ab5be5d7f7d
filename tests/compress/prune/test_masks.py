"""Which weights are pruned: exact counts, at the lowest scores."""

import pytest
import torch

from kdbench.compress.prune import masks


def scores(*shapes: tuple[int, ...]) -> dict[str, torch.Tensor]:
    drawn = torch.Generator().manual_seed(0)
    return {str(number): torch.rand(shape, generator=drawn) for number, shape in enumerate(shapes)}


def zeros(mask: torch.Tensor) -> int:
    return int((mask == 0).sum())


@pytest.mark.parametrize("sparsity", [0.0, 0.001, 0.333, 0.5, 0.9, 0.999])
def test_over_the_network_the_count_is_exact_and_at_the_lowest(sparsity):
    given = scores((6, 4, 3, 3), (10, 6))
    found = masks.over_the_network(given, sparsity)
    assert {name: mask.shape for name, mask in found.items()} == {name: score.shape for name, score in given.items()}
    assert sum(map(zeros, found.values())) == round(sparsity * 276)
    gone = torch.cat([given[name][found[name] == 0] for name in given])
    left = torch.cat([given[name][found[name] == 1] for name in given])
    assert not len(gone) or not len(left) or gone.max() <= left.min()


@pytest.mark.parametrize("sparsity", [0.0, 0.25, 0.5, 0.9])
def test_ties_do_not_change_the_number(sparsity):
    tied = {"a": torch.ones(7, 3), "b": torch.ones(2, 2), "c": torch.zeros(5)}
    found = masks.over_the_network(tied, sparsity)
    assert sum(map(zeros, found.values())) == round(sparsity * 30)


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.77])
def test_layer_by_layer_it_is_exact_in_each(sparsity):
    given = scores((6, 4, 3, 3), (10, 6), (3, 1))
    for name, mask in masks.layer_by_layer(given, sparsity).items():
        assert zeros(mask) == round(sparsity * mask.numel())
        assert not 0 < zeros(mask) < mask.numel() or given[name][mask == 0].max() <= given[name][mask == 1].min()


@pytest.mark.parametrize(("kept", "group"), [(2, 4), (1, 4), (1, 2), (3, 8)])
@pytest.mark.parametrize("shape", [(6, 8, 3, 3), (10, 16)])
def test_n_of_m_keeps_the_highest_of_each_group_of_inputs(kept, group, shape):
    (score,) = scores(shape).values()
    mask = masks.n_of_m(score, kept, group)
    assert mask.shape == score.shape
    groups = [tensor.movedim(1, -1).reshape(-1, group) for tensor in (mask, score)]
    assert (groups[0].sum(1) == kept).all()
    for chosen, values in zip(*groups, strict=True):
        assert values[chosen == 1].min() >= values[chosen == 0].max()
