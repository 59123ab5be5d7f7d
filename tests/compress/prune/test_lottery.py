"""Lottery tickets: what is left is rewound, round after round."""

from dataclasses import replace

import pytest
import torch
from tests.compress.tasks import task_of, used
from tests.training.methods import built

from kdbench.compress.layers import weight_names
from kdbench.compress.prune.layerwise_magnitude import LayerwiseMagnitude
from kdbench.compress.prune.lottery import Lottery, zeros_by_layer
from kdbench.errors import BadSetting

TICKET = Lottery(sparsity=0.75, rate=0.3, across="network", rewind="initial")


def flat(network):
    return torch.cat([network.get_parameter(name).detach().flatten() for name in weight_names(network)])


def recorded(few):
    """A task whose fit adds noise to what is left, and notes what each training began and ended with."""
    seen = []

    def fit(network, *_, constraint, **__):
        began = flat(network).clone()
        torch.manual_seed(len(seen))
        for parameter in network.parameters():
            parameter.data += torch.randn(parameter.shape)
        constraint.apply(network, 1, 1)
        seen.append((began, flat(network).clone()))

    initial = built("cnn", few)
    return replace(task_of(few, fit, initial=initial, family="cnn")), initial, seen


@pytest.mark.parametrize("across", ["network", "layer"])
def test_each_round_prunes_the_smallest_of_what_is_left_and_rewinds_the_rest(across, few):
    task, initial, seen = recorded(few)
    start = used("cnn", few)
    ticket = replace(TICKET, across=across)(start, task)
    first, total = flat(initial), len(flat(initial))
    assert len(seen) == TICKET.rounds == 4
    before = flat(start)
    for number, (began, ended) in enumerate(seen, 1):
        zeros = began == 0
        assert int(zeros.sum()) == round((1 - 0.25 ** (number / 4)) * total)
        assert torch.equal(began[~zeros], first[~zeros])  # by value: the noise of other rounds is in none
        assert torch.equal(ended == 0, zeros)
        if across == "network":
            assert before[zeros].abs().max() <= before[~zeros].abs().min()
        before = ended
    assert torch.equal(flat(ticket), before)
    assert torch.equal(flat(task.initial), first)  # and not by reference
    assert int((TICKET.constraint(ticket).masks[weight_names(ticket)[0]] == 0).sum()) > 0


def test_layer_by_layer_the_last_is_pruned_at_half_the_rate():
    """As LeNet-300-100 after so many rounds of 20%, and of 10% for the last layer."""
    sizes = [235_200, 30_000, 1_000]
    for rounds in (1, 7, 15):
        left = [0.8**rounds, 0.8**rounds, 0.9**rounds]
        share = sum(size * one for size, one in zip(sizes, left, strict=True)) / sum(sizes)
        counts = zeros_by_layer(sizes, share, 0.2)
        assert sum(counts) == round((1 - share) * sum(sizes))
        expected = [(1 - one) * size for size, one in zip(sizes, left, strict=True)]
        assert counts == pytest.approx(expected, abs=1.5)


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("sizes", [[72, 1152, 6_272], [500, 60, 70, 80], [9, 20_000, 10]], ids=str)
@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_layer_by_layer_the_sparsity_is_exact_and_no_layer_goes(sparsity, sizes, rate):
    counts = zeros_by_layer(sizes, 1 - sparsity, rate)
    assert sum(counts) == round(sparsity * sum(sizes))
    assert all(0 <= count < size for count, size in zip(counts, sizes, strict=True))


@pytest.mark.parametrize("across", ["network", "layer"])
@pytest.mark.parametrize(("before", "sparsity"), [(0.5, 0.5), (0.5, 0.8), (0.5, 0.2)])
def test_what_is_zero_already_counts_and_stays(across, before, sparsity, few):
    task, _, seen = recorded(few)
    start = LayerwiseMagnitude(sparsity=before, finetune_epochs=0, finetune_lr_scale=1, statistics=0)(
        used("cnn", few), task
    )
    replace(TICKET, sparsity=sparsity, across=across)(start, task)
    (_, ended), zeros = seen[-1], flat(start) == 0
    assert (ended[zeros] == 0).all()
    assert int((ended == 0).sum()) == max(int(zeros.sum()), round(sparsity * len(ended)))


def test_a_last_layer_of_most_weights_is_pruned_as_the_others():
    counts = zeros_by_layer([100, 900], 0.1, 0.5)
    assert counts == [90, 810]


def test_the_control_begins_its_last_training_with_other_weights_under_the_same_zeros(few):
    (task, _, seen), (other_task, _, others) = recorded(few), recorded(few)
    TICKET(used("cnn", few), task)
    replace(TICKET, rewind="another")(used("cnn", few), other_task)
    for (began, _), (other, _) in zip(seen[:-1], others[:-1], strict=True):
        assert torch.equal(began, other)
    assert torch.equal(seen[-1][0] == 0, others[-1][0] == 0)
    left = seen[-1][0] != 0
    assert not (seen[-1][0][left] == others[-1][0][left]).any()


@pytest.mark.parametrize(
    ("sparsity", "rate", "rounds"), [(0.2, 0.2, 1), (0.36, 0.2, 2), (0.9, 0.2, 11), (0.0, 0.5, 1)]
)
def test_there_are_as_many_rounds_as_it_takes(sparsity, rate, rounds):
    assert replace(TICKET, sparsity=sparsity, rate=rate).rounds == rounds


@pytest.mark.parametrize(
    ("knobs", "name"),
    [
        ({"sparsity": 1}, "sparsity"),
        ({"rate": 0}, "rate"),
        ({"across": "all"}, "across"),
        ({"rewind": "no"}, "rewind"),
    ],
)
def test_knobs_out_of_range_are_named(knobs, name):
    with pytest.raises(BadSetting, match=rf"compress\.{name}"):
        replace(TICKET, **knobs)
