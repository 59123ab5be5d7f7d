"""Pruning while training goes on: the sparsity of every step, and what is zero stays so."""

import pytest
import torch
from tests.compress.tasks import fitting, task_of, used

from kdbench.compress.layers import weight_names
from kdbench.compress.prune.gradual import Gradual, RisingSparsity, cubic, is_due
from kdbench.compress.prune.taylor import RisingByTaylor, Taylor
from kdbench.errors import BadSetting

KINDS = [RisingSparsity, RisingByTaylor]


def test_the_schedule_is_that_of_the_paper():
    # Equation 1 of Zhu and Gupta: s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))^3, with s_i = 0.
    for done in (0.0, 0.25, 0.5, 1.0):
        assert cubic(done, 0.9) == pytest.approx(0.9 + (0 - 0.9) * (1 - done) ** 3)


def stepped(constraint, network, total):
    """Change all weights at random, as an optimiser would, then apply; yield the zeros by name."""
    drawn = torch.Generator().manual_seed(0)
    for step in range(1, total + 1):
        for parameter in network.parameters():
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=drawn)
            parameter.grad = torch.randn(parameter.shape, generator=drawn)
        constraint.apply(network, step, total)
        yield step, torch.cat([(network.get_parameter(name) == 0).flatten() for name in weight_names(network)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("total", "ramp"), [(40, 0.5), (250, 1.0), (3, 0.3), (5, 0.5), (25, 0.5), (410, 0.05)])
def test_the_sparsity_is_exact_at_every_step_and_zeros_stay(kind, total, ramp, few):
    network = used("cnn", few)
    before, expected, last = None, 0, max(1, round(ramp * total))
    for step, zeros in stepped(kind(weight_names(network), 0.8, ramp), network, total):
        if is_due(step, total, last):
            expected = round(cubic(step / last, 0.8) * len(zeros))
        assert int(zeros.sum()) == expected
        assert before is None or (zeros | ~before).all()
        before = zeros
    assert expected == round(0.8 * len(before))


@pytest.mark.parametrize("kind", KINDS)
def test_it_goes_on_from_its_state_as_if_it_had_not_been_cut_off(kind, few):
    names = weight_names(used("cnn", few))
    whole = [zeros for _, zeros in stepped(kind(names, 0.8, 0.5), used("cnn", few), 60)]
    network, first = used("cnn", few), kind(names, 0.8, 0.5)
    for step, _ in (steps := stepped(first, network, 60)):
        if step == 13:
            break
    second = kind(names, 0.8, 0.5)
    second.restore({name: tensor.clone() for name, tensor in first.state().items()})
    first.apply = second.apply
    assert all(torch.equal(zeros, whole[step - 1]) for step, zeros in steps)


def test_by_taylor_goes_what_matters_least_to_the_loss(few):
    network = used("mlp", few)
    names = weight_names(network)
    constraint = RisingByTaylor(names, 0.5, 1.0)
    for name in names:  # large weights without a gradient, and small ones with a large one
        weight = network.get_parameter(name)
        large = torch.arange(weight.numel()).view(weight.shape) % 2 == 0
        weight.data = torch.where(large, 5.0, 0.1)
        weight.grad = torch.where(large, 0.0, 10.0)
    constraint.apply(network, 1, 1)
    for name in names:
        weight = network.get_parameter(name)
        assert torch.equal(weight == 0, torch.arange(weight.numel()).view(weight.shape) % 2 == 0)


def test_weights_without_a_gradient_are_not_taken_for_useless(few):
    network = used("mlp", few)
    names = weight_names(network)
    network.get_parameter(names[0]).grad = torch.ones_like(network.get_parameter(names[0]))
    constraint = RisingByTaylor(names, 0.5, 1.0)
    with pytest.raises(BadSetting, match=f"{names[1]} has none"):
        constraint.apply(network, 1, 1)
    assert all(network.get_parameter(name).all() for name in names)


@pytest.mark.parametrize("method", [Gradual, Taylor])
def test_it_ends_at_its_sparsity_to_the_weight_and_the_given_network_stays(method, few, recipe, machine):
    network = used("cnn", few)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    pruned = method(0.7, 2, 0.5, 1.0)(network, task_of(few, fitting(few, recipe, machine)))
    flat = torch.cat([pruned.get_parameter(name).flatten() for name in weight_names(pruned)])
    assert int((flat == 0).sum()) == round(0.7 * len(flat))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    kept = method(0.7, 2, 0.5, 1.0).constraint(pruned).masks
    assert sum(int((mask == 0).sum()) for mask in kept.values()) == round(0.7 * len(flat))


@pytest.mark.parametrize(
    ("knobs", "name"), [((1.0, 1, 0.5, 1), "sparsity"), ((0.5, 0, 0.5, 1), "epochs"), ((0.5, 1, 0, 1), "ramp")]
)
def test_knobs_out_of_range_are_named(knobs, name):
    with pytest.raises(BadSetting, match=rf"compress\.{name}"):
        Gradual(*knobs)
