import contextlib

import pytest
import torch
from torch import nn

from kdbench.compress.prune.global_magnitude import GlobalMagnitude, magnitude_masks
from kdbench.compress.step import Task
from kdbench.errors import BadSetting, Collapsed
from kdbench.models.cnn import CNN


@pytest.fixture
def network():
    torch.manual_seed(0)
    made = CNN([4, 6], 1, "flatten")
    for parameter in made.parameters():
        nn.init.normal_(parameter)
    return made


def no_training(*_, **__):
    raise AssertionError("one-shot pruning trains nothing")


def weights(network: nn.Module) -> list[torch.Tensor]:
    """Kernels and matrices, found by their shape: biases, scales and shifts have one dimension."""
    return [parameter.detach() for parameter in network.parameters() if parameter.ndim > 1]


@pytest.mark.parametrize("sparsity", [0.0, 0.001, 0.1, 0.333, 0.5, 0.9, 0.999])
def test_the_number_of_zeros_is_exact_and_at_the_smallest_weights(network, sparsity):
    pruned = GlobalMagnitude(sparsity, 0, 1)(network, Task(no_training))
    before, after = (torch.cat([weight.flatten() for weight in weights(net)]) for net in (network, pruned))
    expected = round(sparsity * len(before))
    assert int((after == 0).sum()) == expected
    assert torch.equal(after[after != 0], before[after != 0])
    if 0 < expected < len(before):
        assert before[after == 0].abs().max() <= before[after != 0].abs().min()


@pytest.mark.parametrize("sparsity", [0.1, 0.25, 0.5, 0.9])
def test_ties_do_not_change_the_number(sparsity):
    tied = [nn.Parameter(torch.ones(7, 3)), nn.Parameter(-torch.ones(2, 2)), nn.Parameter(torch.zeros(5))]
    masks = magnitude_masks(tied, sparsity)
    assert sum(int((mask == 0).sum()) for mask in masks) == round(sparsity * 30)


def test_biases_batch_norm_and_the_given_network_are_not_touched(network):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    pruned = GlobalMagnitude(0.9, 0, 1)(network, Task(no_training))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    others = [(name, parameter) for name, parameter in pruned.named_parameters() if parameter.ndim == 1]
    assert len(others) == 2 * 2 + 1  # scale and shift of each of two stages, and the head's bias
    for name, parameter in others:
        assert torch.equal(parameter, before[name]), name


def test_zeros_stay_zero_through_fine_tuning(network, few, recipe, machine):
    from kdbench.training.fit import fit

    def fine_tune(model, *, epochs, lr_scale, after_step):
        with contextlib.suppress(Collapsed):  # a tenth of a tiny network may well come to predict one class
            fit(model, few.train, few.val, recipe, machine, 0, after_step=after_step)

    one_shot = GlobalMagnitude(0.9, 0, 1)(network, Task(no_training))
    tuned = GlobalMagnitude(0.9, 2, 1)(network, Task(fine_tune))
    moved = 0
    for before, after in zip(weights(one_shot), weights(tuned), strict=True):
        assert torch.equal(before == 0, after == 0)
        moved += int((before != after).sum())
    assert moved > 0


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ((1.0, 0, 1), r"compress\.sparsity=1\.0 is out of range: it takes a number in \[0, 1\)"),
        ((-0.1, 0, 1), r"compress\.sparsity"),
        (("much", 0, 1), r"compress\.sparsity=much is not a number"),
        ((0.5, -1, 1), r"compress\.finetune_epochs"),
        ((0.5, 1.5, 1), r"compress\.finetune_epochs"),
        ((0.5, 1, 0), r"compress\.finetune_lr_scale"),
    ],
)
def test_knobs_out_of_range_are_named(knobs, message):
    with pytest.raises(BadSetting, match=message):
        GlobalMagnitude(*knobs)
