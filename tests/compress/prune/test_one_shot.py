"""What all pruning in one go holds to, whatever it chooses by."""

import pytest
import torch
from tests.compress.awkward import Functional
from tests.compress.tasks import fitting, task_of, used
from tests.training.methods import built, cnn_of
from torch import nn

from kdbench.compress.batch_norm import take_statistics
from kdbench.compress.order import leaves_constraint
from kdbench.compress.prune.at_random import AtRandom
from kdbench.compress.prune.global_magnitude import GlobalMagnitude
from kdbench.compress.prune.layerwise_magnitude import LayerwiseMagnitude
from kdbench.compress.prune.n_of_m import NOfM
from kdbench.compress.step import Examples
from kdbench.errors import BadSetting
from kdbench.training import features
from kdbench.training.fit import fit
from kdbench.training.learner import Learner

AS_CUT = {"finetune_epochs": 0, "finetune_lr_scale": 1, "statistics": 0}
METHODS = [
    GlobalMagnitude(sparsity=0.5, **AS_CUT),
    LayerwiseMagnitude(sparsity=0.5, **AS_CUT),
    AtRandom(sparsity=0.5, **AS_CUT),
    NOfM(n=1, m=2, layers=None, **AS_CUT),
]
each = pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)


@pytest.fixture
def network():
    made = cnn_of([4, 6], head="flatten")
    for parameter in made.parameters():
        nn.init.normal_(parameter)
    return made


def weights(network: nn.Module) -> list[torch.Tensor]:
    """Kernels and matrices, found by their shape: biases, scales and shifts have one dimension."""
    return [parameter.detach() for parameter in network.parameters() if parameter.ndim > 1]


@each
def test_half_of_the_weights_go_and_the_others_stay_as_they_were(method, network, few):
    pruned = method(network, task_of(few))
    before, after = (torch.cat([weight.flatten() for weight in weights(net)]) for net in (network, pruned))
    # The first convolution has a single input, which 2 does not divide.
    expected = (len(before) - 36) // 2 if isinstance(method, NOfM) else round(0.5 * len(before))
    assert int((after == 0).sum()) == expected
    if isinstance(method, LayerwiseMagnitude):
        assert all(int((weight == 0).sum()) == round(0.5 * weight.numel()) for weight in weights(pruned))
    assert torch.equal(after[after != 0], before[after != 0])


@each
def test_biases_batch_norm_and_the_given_network_are_not_touched(method, network, few):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    pruned = method(network, task_of(few))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    others = [(name, parameter) for name, parameter in pruned.named_parameters() if parameter.ndim == 1]
    assert len(others) == 2 * 2 + 1  # scale and shift of each of two stages, and the head's bias
    for name, parameter in others:
        assert torch.equal(parameter, before[name]), name


@each
def test_zeros_stay_through_fine_tuning_and_through_later_trainings(method, network, few, recipe, machine):
    from dataclasses import replace

    one_shot = method(network, task_of(few))
    tuned = replace(method, finetune_epochs=2)(network, task_of(few, fitting(few, recipe, machine)))
    zeros = [weight == 0 for weight in weights(one_shot)]
    assert all(torch.equal(weight == 0, zero) for weight, zero in zip(weights(tuned), zeros, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(weights(tuned), weights(one_shot), strict=True))
    kept, freed = method(network, task_of(few)), method(network, task_of(few))
    fit(Learner(kept, 0, constraints=[method.constraint(one_shot)]), few.train, few.val, recipe, machine)
    fit(Learner(freed, 0), few.train, few.val, recipe, machine)
    assert all(torch.equal(weight == 0, zero) for weight, zero in zip(weights(kept), zeros, strict=True))
    assert not all(torch.equal(weight == 0, zero) for weight, zero in zip(weights(freed), zeros, strict=True))
    assert leaves_constraint(method)


def test_what_is_pruned_at_random_follows_the_seed(network, few):
    from dataclasses import replace

    method, task = METHODS[2], task_of(few)
    one, again, other = (method(network, replace(task, seed=seed)) for seed in (3, 3, 4))
    assert all(map(torch.equal, weights(one), weights(again)))
    assert not all(map(torch.equal, weights(one), weights(other)))


@pytest.mark.parametrize("family", ["mlp", "cnn", "resnet"])
def test_networks_for_images_of_another_shape_are_pruned_to_the_weight(colours, family):
    pruned = GlobalMagnitude(sparsity=0.8, **AS_CUT)(built(family, colours), task_of(colours))
    # Their normalisation, a channel at a time, is no weight.
    flat = torch.cat([weight.flatten() for weight in weights(pruned)])
    assert int((flat == 0).sum()) == round(0.8 * len(flat))


def test_batch_norm_takes_the_statistics_of_what_it_is_given_now(few):
    network = used("cnn", few)
    images = few.train.images[:100].float() / 255
    with torch.no_grad():
        network[1][0].weight *= 3
    given = features.run(network, images, ["0"]).features["0"]
    take_statistics(network, images, features.run)
    norm = network[1][1]
    assert torch.allclose(norm.running_mean, given.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(norm.running_var, given.var((0, 2, 3)), atol=1e-5)
    assert norm.momentum == 0.1
    assert not any(module.training for module in network.modules())


@pytest.mark.parametrize("count", [2, 249, 251, 501])
def test_no_batch_of_the_statistics_is_a_single_image(count):
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3))
    images = torch.rand(count, 1, 2, 2)
    take_statistics(network, images, features.run)
    expected = network[1](images.flatten(1)).mean(0)
    assert torch.allclose(network[2].running_mean, expected, atol=0.01)


def test_batches_of_250_stay_as_they_are():
    seen = []
    take_statistics(nn.BatchNorm2d(1), torch.rand(5_000, 1, 1, 1), lambda _, images: seen.append(len(images)))
    assert seen == [250] * 20


@each
def test_a_network_without_layers_with_weights_is_refused(method, few):
    data = Examples(few.train, few.val, few.class_names)
    with pytest.raises(BadSetting, match="the network has no weights to prune") as error:
        method.check(Functional(), [], data)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("kind", [GlobalMagnitude, AtRandom])
def test_what_is_zero_already_counts_and_stays(kind, sparsity, network, few):
    start = METHODS[1](network, task_of(few))
    before, after = (
        torch.cat([weight.flatten() for weight in weights(net)])
        for net in (start, kind(sparsity=sparsity, **AS_CUT)(start, task_of(few)))
    )
    assert (after[before == 0] == 0).all()
    assert int((after == 0).sum()) == max(int((before == 0).sum()), round(sparsity * len(after)))


def test_statistics_taken_anew_change_nothing_else_and_none_are_taken_of_none(network, few):
    from dataclasses import replace

    method = METHODS[0]
    with_statistics = replace(method, statistics=50)(network, task_of(few))
    state, old = with_statistics.state_dict(), method(network, task_of(few)).state_dict()
    changed = {name.rpartition(".")[2] for name in old if not torch.equal(state[name], old[name])}
    assert changed == {"running_mean", "running_var", "num_batches_tracked"}


def test_of_n_of_m_layers_can_be_named_and_those_that_cannot_be_are_refused(few):
    network = used("cnn", few)
    data = Examples(few.train, few.val, few.class_names)
    named = NOfM(n=1, m=2, layers=["4"], **AS_CUT)(network, task_of(few))
    counts = [int((weight == 0).sum()) for weight in weights(named)]
    assert [count > 0 for count in counts] == [False, True, False]
    for knobs, message in (
        ({"layers": ["0"]}, r"0 has 1 inputs, which 2 does not divide: choose from 4, "),
        ({"layers": ["stem"]}, r"there is no layer stem with weights: choose from 4, "),
        ({"m": 64, "layers": None}, r"compress\.m=64 divides the inputs of no layer: they have 1, 4, 6"),
    ):
        with pytest.raises(BadSetting, match=message):
            NOfM(**{"n": 1, "m": 2} | knobs, **AS_CUT).check(network, [], data)


@pytest.mark.parametrize(
    ("method", "knobs", "message"),
    [
        (
            GlobalMagnitude,
            {"sparsity": 1.0},
            r"compress\.sparsity=1\.0 is out of range: it takes a number in \[0, 1\)",
        ),
        (LayerwiseMagnitude, {"sparsity": -0.1}, r"compress\.sparsity"),
        (AtRandom, {"sparsity": "much"}, r"compress\.sparsity=much is not a number"),
        (NOfM, {"n": 4, "m": 4, "layers": None}, r"compress\.n=4 is out of range"),
        (GlobalMagnitude, {"sparsity": 0.5, "finetune_epochs": -1}, r"compress\.finetune_epochs"),
        (GlobalMagnitude, {"sparsity": 0.5, "finetune_epochs": 1.5}, r"compress\.finetune_epochs"),
        (GlobalMagnitude, {"sparsity": 0.5, "finetune_lr_scale": 0}, r"compress\.finetune_lr_scale"),
        (GlobalMagnitude, {"sparsity": 0.5, "statistics": -1}, r"compress\.statistics"),
        (GlobalMagnitude, {"sparsity": 0.5, "statistics": 1}, r"compress\.statistics=1: .*type 2 or more, or 0"),
    ],
)
def test_knobs_out_of_range_are_named(method, knobs, message):
    with pytest.raises(BadSetting, match=message):
        method(**AS_CUT | knobs)
