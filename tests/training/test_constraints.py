import copy

import pytest
import torch
from tests.training.methods import Ramp, mlp_of

from kdbench.training.constraints import KeepZeros
from kdbench.training.fit import fit
from kdbench.training.learner import Learner


def pruned(seed: int = 0):
    network = mlp_of(seed=seed)
    with torch.no_grad():
        network[1].weight[::2] = 0
        network[3].weight[:, 0] = 0
    return network


NAMES = ["1.weight", "3.weight"]


def test_zeros_are_found_and_kept_and_nothing_else_is_touched():
    network = pruned()
    zeros = KeepZeros.of(network, NAMES)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    moved = copy.deepcopy(network)
    zeros.apply(network, 1, 1)
    assert torch.equal(network[1].weight[1::2], moved[1].weight[1::2])
    assert not network[1].weight[::2].any()
    assert not network[3].weight[:, 0].any()
    assert torch.equal(network[3].weight[:, 1:], moved[3].weight[:, 1:])
    assert torch.equal(network[1].bias, moved[1].bias)


def test_a_constraint_is_bound_to_no_network():
    zeros, other = KeepZeros.of(pruned(), NAMES), mlp_of(seed=1)
    zeros.apply(other, 1, 1)
    assert not other[1].weight[::2].any()


def test_what_is_restored_is_what_was_the_state():
    zeros = KeepZeros.of(pruned(), NAMES)
    other = KeepZeros({})
    other.restore(zeros.state())
    network = mlp_of()
    other.apply(network, 1, 1)
    assert torch.equal(network[1].weight == 0, pruned()[1].weight == 0)


def test_every_step_of_a_training_counts_from_one_and_knows_their_number(few, recipe, machine):
    calls = []

    class Counts:
        def apply(self, network, step, total):
            assert network is model
            calls.append((step, total))

    model = mlp_of()
    fit(Learner(model, 0, constraints=[Counts()]), few.train, few.val, recipe, machine)
    assert calls == [(step, 10) for step in range(1, 11)]  # two epochs of 300 images in batches of 64


def test_a_schedule_is_that_of_all_epochs_where_a_training_stops_early(few, recipe, machine):
    half, whole = mlp_of(), mlp_of()
    fit(Learner(half, 0, constraints=[Ramp(0.8)]), few.train, few.val, recipe, machine, until=1)
    fit(Learner(whole, 0, constraints=[Ramp(0.8)]), few.train, few.val, recipe, machine)
    for network, share in ((half, 0.4), (whole, 0.8)):
        for layer in (network[1], network[3]):
            assert int((layer.weight == 0).sum()) == int(share * layer.weight.numel())


def test_all_constraints_hold_in_their_order(few, recipe, machine):
    """Of two, the later sees what the earlier did; both hold at the end."""
    network = pruned()
    constraints = [KeepZeros.of(network, NAMES), Ramp(0.7)]
    fit(Learner(network, 0, constraints=constraints), few.train, few.val, recipe, machine)
    assert not network[1].weight[::2].any()
    assert not network[3].weight[:, 0].any()
    assert int((network[1].weight == 0).sum()) == int(0.7 * network[1].weight.numel())


@pytest.mark.parametrize("number", range(2))
def test_a_copy_has_a_state_of_its_own(number):
    original, network = (Ramp(0.5), KeepZeros.of(pruned(), NAMES))[number], mlp_of()
    copied = copy.deepcopy(original)
    before = {name: mask.clone() for name, mask in original.state().items()}
    copied.apply(network, 1, 1)
    copied.restore({})
    assert original.state().keys() == before.keys()
    assert all(torch.equal(original.state()[name], before[name]) for name in before)
