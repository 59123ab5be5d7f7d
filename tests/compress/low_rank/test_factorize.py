from dataclasses import replace

import pytest
import torch
from tests.compress.tasks import fitting, task_of, used
from tests.training.methods import flat, same
from torch import nn

from kdbench.compress.low_rank.factorize import Factorize, layers_before_the_last
from kdbench.compress.low_rank.factors import as_matrix, weights_of_rank_one
from kdbench.errors import BadSetting
from kdbench.models.network import build, parameters

HALF = Factorize(keep=0.5, finetune_epochs=0, finetune_lr_scale=1, statistics=0)


def mlp_for(splits, widths):
    knobs = {"_target_": "kdbench.models.mlp.MLP", "widths": list(widths)}
    return build(knobs, 0, splits.shape, splits.classes, splits.pixel_statistics)


@pytest.mark.parametrize("keep", [0.1, 0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("of", [[64], [40, 24, 16], "cnn", "resnet"], ids=str)
def test_ranks_are_the_largest_at_which_factors_have_at_most_that_share_of_the_weights(few, keep, of):
    network = used(of, few) if isinstance(of, str) else mlp_for(few, of)
    before = layers_before_the_last(network, few.shape)
    if min(weights_of_rank_one(layer) / layer.weight.numel() for layer in before.values()) > keep:
        return  # which is refused, as is tested below
    made = replace(HALF, keep=keep)(network, task_of(few))
    for name, layer in before.items():
        new, weights = made.model.get_submodule(name), layer.weight.numel()
        if isinstance(new, nn.Sequential):
            rank = len(new[0].weight)
            assert sum(one.weight.numel() for one in new) == rank * weights_of_rank_one(layer) <= keep * weights
            assert (rank + 1) * weights_of_rank_one(layer) > keep * weights
            assert torch.linalg.matrix_rank(as_matrix(new[1]) @ as_matrix(new[0])).item() == rank
        else:
            assert weights_of_rank_one(layer) > keep * weights
            assert same(new, layer)
    assert made(few.val.images[:3].float() / 255).shape == (3, few.classes)
    assert same(list(made.model.modules())[-1], list(network.model.modules())[-1])
    assert parameters(made) < parameters(network)


def test_grouped_convolutions_and_the_last_layer_that_runs_stay_be_it_a_convolution(few):
    class Separable(nn.Sequential):
        def __init__(self):
            super().__init__(
                *(nn.Conv2d(1, 8, 5), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 1)),
                *(nn.Conv2d(8, 10, 22), nn.Flatten()),
            )

    made = replace(HALF, keep=0.9)(Separable(), task_of(few))
    assert [type(layer) for layer in made][:4] == [nn.Sequential, nn.Conv2d, nn.Sequential, nn.Conv2d]
    assert [layer.kernel_size for layer in made[0]] == [(5, 1), (1, 5)]


def test_batch_norm_takes_its_statistics_anew(few):
    network = used("cnn", few)
    kept, taken = (
        Factorize(keep=0.5, finetune_epochs=0, finetune_lr_scale=1, statistics=images)(network, task_of(few))
        for images in (0, 300)
    )
    norms = [name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    for name in norms:
        assert same(kept.get_submodule(name), network.get_submodule(name))
    inner, first, norm = taken.model, taken.model[0], taken.model[1]
    assert isinstance(first, nn.Sequential)
    seen = first(taken[0](task_of(few).data.to_calibrate(300)))
    assert torch.allclose(norm.running_mean, seen.mean((0, 2, 3)), atol=1e-5)  # of two batches of 150
    assert all(
        torch.equal(one, other) for one, other in zip(inner.parameters(), kept.model.parameters(), strict=True)
    )


@pytest.mark.parametrize("widths", [[16], [10], [12, 10]])
def test_only_the_layer_that_gives_the_logits_stays_as_it_is(few, widths):
    """Also where another one has as many outputs."""
    network = mlp_for(few, widths)
    made = HALF(network, task_of(few))
    assert isinstance(made.model[-1], nn.Linear)
    assert same(made.model[-1], network.model[-1])
    assert [type(module) for module in list(made.model)[1::2]] == [nn.Sequential] * len(widths) + [nn.Linear]
    for number in range(1, 2 * len(widths), 2):
        assert torch.equal(made.model[number][1].bias, network.model[number].bias)


def test_the_layer_that_gives_the_logits_is_the_last_that_runs_not_the_last_that_is_written(few):
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.body = nn.Linear(8, 10), nn.Linear(784, 8)

        def forward(self, images):
            return self.head(self.body(images.flatten(1)).relu())

    made = HALF(Backwards(), task_of(few))
    assert isinstance(made.head, nn.Linear)
    assert isinstance(made.body, nn.Sequential)


def test_the_given_network_is_not_changed(few):
    network = mlp_for(few, [16])
    before = flat(network).clone()
    HALF(network, task_of(few))
    assert torch.equal(flat(network), before)


@pytest.mark.parametrize("data", ["few", "colours"])
@pytest.mark.parametrize("family", ["mlp", "cnn", "resnet"])
def test_the_architecture_is_rebuilt_from_the_shapes_of_stored_weights(data, family, request):
    splits = request.getfixturevalue(data)
    network, method = used(family, splits), HALF
    made = method(network, task_of(splits))
    stored = made.state_dict()
    rebuilt = method.architecture(network, {name: tensor.shape for name, tensor in stored.items()})
    rebuilt.load_state_dict(stored)
    images = splits.val.images[:9].float() / 255
    assert torch.equal(rebuilt.eval()(images), made.eval()(images))
    assert parameters(network) > parameters(rebuilt)


@pytest.mark.parametrize("family", ["mlp", "cnn"])
def test_what_was_factorized_can_be_factorized_again(few, family):
    network, method = used(family, few), replace(HALF, keep=0.7)
    once = method(network, task_of(few))
    twice = method(once, task_of(few))
    assert parameters(twice) < parameters(once)
    shapes = {name: tensor.shape for name, tensor in twice.state_dict().items()}
    method.architecture(once, shapes).load_state_dict(twice.state_dict())


def test_it_is_fine_tuned_as_long_as_said(few, recipe, machine):
    histories = []
    task = task_of(few, fitting(few, recipe, machine, histories))
    network = mlp_for(few, [16])
    cut = HALF(network, task)
    tuned = Factorize(keep=0.5, finetune_epochs=1, finetune_lr_scale=0.5, statistics=0)(network, task)
    assert [len(history) for history in histories] == [1]
    assert not torch.equal(flat(cut), flat(tuned))


@pytest.mark.parametrize("family", ["mlp", "cnn", "resnet"])
def test_a_share_that_no_two_factors_fit_in_is_refused_with_the_least_that_does(few, family):
    network, data = used(family, few), task_of(few).data
    with pytest.raises(BadSetting, match=r"compress\.keep=0\.001 leaves no layer factors of rank 1: type ") as error:
        replace(HALF, keep=0.001).check(network, (), data)
    least = float(str(error.value).split()[-3])
    assert set(replace(HALF, keep=least).ranks(network, few.shape).values()) == {1}
    with pytest.raises(BadSetting):
        replace(HALF, keep=least - 0.002).check(network, (), data)


@pytest.mark.parametrize(
    "layers",
    [[nn.Flatten(), nn.Linear(784, 10)], [nn.Conv2d(1, 1, 2), nn.Conv2d(1, 10, 27), nn.Flatten()]],
    ids=["one layer", "four weights, and four of rank 1"],
)
def test_a_network_in_which_nothing_can_be_factorized_is_refused_in_one_line(few, layers):
    with pytest.raises(BadSetting, match="no layer before the last whose factors would have fewer weights") as error:
        HALF.check(nn.Sequential(*layers), (), task_of(few).data)
    assert "\n" not in str(error.value)


def test_a_network_that_reads_the_weights_of_its_layers_itself_is_refused_before_it_is_trained(few):
    class Autoencoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.head = nn.Linear(784, 20, bias=False), nn.Linear(784, 10)

        def forward(self, images):
            code = self.inner(images.flatten(1)).relu()
            return self.head(nn.functional.linear(code, self.inner.weight.T))

    with pytest.raises(BadSetting, match=r"the network cannot be run: .*has no attribute 'weight'") as error:
        HALF.check(Autoencoder(), (), task_of(few).data)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"keep": 0}, r"compress\.keep=0 is out of range"),
        ({"keep": 1}, r"compress\.keep=1 is out of range"),
        ({"keep": "half"}, r"compress\.keep=half is not a number"),
        ({"finetune_epochs": -1}, r"compress\.finetune_epochs"),
        ({"finetune_epochs": 1.5}, r"compress\.finetune_epochs"),
        ({"finetune_lr_scale": 0}, r"compress\.finetune_lr_scale"),
        ({"statistics": -1}, r"compress\.statistics"),
    ],
)
def test_knobs_out_of_range_are_named(knobs, message):
    with pytest.raises(BadSetting, match=message):
        replace(HALF, **knobs)
