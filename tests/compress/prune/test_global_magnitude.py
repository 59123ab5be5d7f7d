import pytest
import torch
from tests.compress.tasks import fitting, task_of
from tests.training.methods import built, cnn_of
from torch import nn

from kdbench.compress.prune.global_magnitude import GlobalMagnitude, magnitude_masks
from kdbench.errors import BadSetting
from kdbench.training.fit import fit
from kdbench.training.learner import Learner


@pytest.fixture
def network():
    made = cnn_of([4, 6], head="flatten")
    for parameter in made.parameters():
        nn.init.normal_(parameter)
    return made


def weights(network: nn.Module) -> list[torch.Tensor]:
    """Kernels and matrices, found by their shape: biases, scales and shifts have one dimension."""
    return [parameter.detach() for parameter in network.parameters() if parameter.ndim > 1]


@pytest.mark.parametrize("sparsity", [0.0, 0.001, 0.1, 0.333, 0.5, 0.9, 0.999])
def test_the_number_of_zeros_is_exact_and_at_the_smallest_weights(network, few, sparsity):
    pruned = GlobalMagnitude(sparsity, 0, 1)(network, task_of(few))
    before, after = (torch.cat([weight.flatten() for weight in weights(net)]) for net in (network, pruned))
    expected = round(sparsity * len(before))
    assert int((after == 0).sum()) == expected
    assert torch.equal(after[after != 0], before[after != 0])
    if 0 < expected < len(before):
        assert before[after == 0].abs().max() <= before[after != 0].abs().min()


@pytest.mark.parametrize("sparsity", [0.1, 0.25, 0.5, 0.9])
def test_ties_do_not_change_the_number(sparsity):
    tied = {"a": torch.ones(7, 3), "b": -torch.ones(2, 2), "c": torch.zeros(5)}
    masks = magnitude_masks(tied, sparsity)
    assert {name: mask.shape for name, mask in masks.items()} == {name: weight.shape for name, weight in tied.items()}
    assert sum(int((mask == 0).sum()) for mask in masks.values()) == round(sparsity * 30)


def test_biases_batch_norm_and_the_given_network_are_not_touched(network, few):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    pruned = GlobalMagnitude(0.9, 0, 1)(network, task_of(few))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    others = [(name, parameter) for name, parameter in pruned.named_parameters() if parameter.ndim == 1]
    assert len(others) == 2 * 2 + 1  # scale and shift of each of two stages, and the head's bias
    for name, parameter in others:
        assert torch.equal(parameter, before[name]), name


def test_zeros_stay_zero_through_fine_tuning(network, few, recipe, machine):
    one_shot = GlobalMagnitude(0.9, 0, 1)(network, task_of(few))
    tuned = GlobalMagnitude(0.9, 2, 1)(network, task_of(few, fitting(few, recipe, machine)))
    moved = 0
    for before, after in zip(weights(one_shot), weights(tuned), strict=True):
        assert torch.equal(before == 0, after == 0)
        moved += int((before != after).sum())
    assert moved > 0


def test_what_it_leaves_behind_keeps_its_zeros_through_a_later_training(network, few, recipe, machine):
    method = GlobalMagnitude(0.9, 0, 1)
    pruned = method(network, task_of(few))
    zeros = [weight == 0 for weight in weights(pruned)]
    kept, freed = method(network, task_of(few)), method(network, task_of(few))
    fit(Learner(kept, 0, constraints=[method.constraint(pruned)]), few.train, few.val, recipe, machine)
    fit(Learner(freed, 0), few.train, few.val, recipe, machine)
    assert all(torch.equal(weight == 0, zero) for weight, zero in zip(weights(kept), zeros, strict=True))
    assert not all(torch.equal(weight == 0, zero) for weight, zero in zip(weights(freed), zeros, strict=True))
    assert GlobalMagnitude.leaves_constraint


@pytest.mark.parametrize("family", ["mlp", "cnn", "resnet"])
def test_networks_for_images_of_another_shape_are_pruned_to_the_weight(colours, family):
    pruned = GlobalMagnitude(0.8, 0, 1)(built(family, colours), task_of(colours))
    # Their normalisation, a channel at a time, is no weight.
    flat = torch.cat([weight.flatten() for weight in weights(pruned)])
    assert int((flat == 0).sum()) == round(0.8 * len(flat))


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
