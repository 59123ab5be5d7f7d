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


@pytest.mark.parametrize("sparsity", [0.9, 0.99, 0.998])
def test_layer_by_layer_no_layer_goes_and_the_total_is_the_same(sparsity):
    given = scores((1, 3, 3), (2, 10), (40, 50))
    counts = [zeros(mask) for mask in masks.layer_by_layer(given, sparsity).values()]
    assert sum(counts) == sum(round(sparsity * size) for size in (9, 20, 2000))
    assert all(count < size for count, size in zip(counts, (9, 20, 2000), strict=True))


def test_the_size_of_a_weight_is_its_score_and_below_zero_where_it_is_zero_already():
    found = masks.magnitudes({"a": torch.tensor([-2.0, 0.0, 1.0, -0.0])})["a"]
    assert torch.equal(found, torch.tensor([2.0, -1.0, 1.0, -1.0]))


@pytest.mark.parametrize("sparsity", [0.0, 0.2, 0.5, 0.8])
@pytest.mark.parametrize("choose", [masks.over_the_network, masks.layer_by_layer])
def test_what_is_zero_already_is_pruned_first_and_all_of_it(choose, sparsity):
    given = scores((6, 10))
    already = {"0": (torch.arange(60) % 2).view(6, 10)}
    mask = choose(masks.zeros_first(given, already), sparsity)["0"]
    assert (mask[already["0"] == 0] == 0).all()
    assert zeros(mask) == max(30, round(60 * sparsity))


def test_shares_add_up():
    assert masks.shared_out(100, [10, 90, 300]) == [2, 23, 75]
    assert sum(masks.shared_out(7, [1, 1, 1])) == 7
    assert masks.shared_out(0, [0, 0]) == [0, 0]


@pytest.mark.parametrize(
    ("already", "counts", "expected"),
    [
        ([0, 0], [3, 4], [3, 4]),
        ([0, 6], [7, 2], [3, 6]),  # as many together
        ([5, 1, 0], [1, 10, 10], [5, 8, 8]),
        ([5, 6], [3, 4], [5, 6]),  # more than was asked for
    ],
)
def test_no_layer_has_fewer_zeros_than_before(already, counts, expected):
    assert masks.at_least(already, counts) == expected


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 6])
def test_of_equal_scores_the_earlier_goes_first(count):
    scores = torch.tensor([2.0, 1.0, 1.0, 0.0, 1.0, 2.0])
    order = [3, 1, 2, 4, 0, 5]
    assert masks.lowest(scores, count).tolist() == [float(place not in order[:count]) for place in range(6)]
