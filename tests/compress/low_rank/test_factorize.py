import pytest
import torch
from tests.compress.tasks import fitting, task_of
from tests.training.methods import built, flat, same
from torch import nn

from kdbench.compress.low_rank.factorize import Factorize, factors, linear_layers
from kdbench.errors import BadSetting
from kdbench.models.network import build, parameters


def layer_of(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(inputs, outputs, bias=bias)


def mlp_for(splits, widths):
    knobs = {"_target_": "kdbench.models.mlp.MLP", "widths": list(widths)}
    return build(knobs, 0, splits.shape, splits.classes, splits.pixel_statistics)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("inputs", "outputs"), [(12, 7), (7, 12), (9, 9)])
def test_at_full_rank_two_layers_are_the_same_function(inputs, outputs, bias):
    layer = layer_of(inputs, outputs, bias)
    made = factors(layer, min(inputs, outputs))
    images = torch.randn(20, inputs)
    assert torch.allclose(made(images), layer(images), atol=1e-5)


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


def test_both_factors_have_the_same_share_of_the_singular_values():
    first, second = factors(layer_of(12, 7), 4)
    values = torch.linalg.svdvals(layer_of(12, 7).weight)[:4]
    assert torch.allclose(first.weight @ first.weight.T, torch.diag(values), atol=1e-5)
    assert torch.allclose(second.weight.T @ second.weight, torch.diag(values), atol=1e-5)
    assert first.bias is None
    assert torch.equal(second.bias, layer_of(12, 7).bias)


@pytest.mark.parametrize("keep", [0.1, 0.25, 0.3, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("widths", [[64], [40, 24, 16]])
def test_ranks_are_the_largest_at_which_factors_have_at_most_that_share_of_the_weights(few, keep, widths):
    network = mlp_for(few, widths)
    made = Factorize(keep, 0, 1)(network, task_of(few))
    before = [layer for _, layer in linear_layers(network)][:-1]
    after = [module for module in made.model if isinstance(module, nn.Sequential)]
    assert len(before) == len(after) == len(widths)
    for layer, (first, second) in zip(before, after, strict=True):
        rank = first.out_features
        assert (first.in_features, second.in_features, second.out_features) == (
            layer.in_features,
            rank,
            layer.out_features,
        )
        assert rank == 1 or rank * (layer.in_features + layer.out_features) <= keep * layer.weight.numel()
        assert (rank + 1) * (layer.in_features + layer.out_features) > keep * layer.weight.numel()
        assert torch.linalg.matrix_rank(second.weight @ first.weight).item() == rank
    assert parameters(made) < parameters(network)


def test_the_rank_is_one_at_least(few):
    made = Factorize(0.001, 0, 1)(mlp_for(few, [16]), task_of(few))
    assert made.model[1][0].out_features == 1


@pytest.mark.parametrize("widths", [[16], [10], [12, 10]])
def test_only_the_layer_that_gives_the_logits_stays_as_it_is(few, widths):
    """Also where another one has as many outputs."""
    network = mlp_for(few, widths)
    made = Factorize(0.5, 0, 1)(network, task_of(few))
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

    made = Factorize(0.5, 0, 1)(Backwards(), task_of(few))
    assert isinstance(made.head, nn.Linear)
    assert isinstance(made.body, nn.Sequential)


def test_the_given_network_is_not_changed(few):
    network = mlp_for(few, [16])
    before = flat(network).clone()
    Factorize(0.5, 0, 1)(network, task_of(few))
    assert torch.equal(flat(network), before)


@pytest.mark.parametrize("data", ["few", "colours"])
@pytest.mark.parametrize("widths", [[16], [24, 16]])
def test_the_architecture_is_rebuilt_from_the_shapes_of_stored_weights(data, widths, request):
    splits = request.getfixturevalue(data)
    network = mlp_for(splits, widths)
    method = Factorize(0.3, 0, 1)
    made = method(network, task_of(splits))
    stored = made.state_dict()
    rebuilt = method.architecture(network, {name: tensor.shape for name, tensor in stored.items()})
    assert {name: tensor.shape for name, tensor in rebuilt.state_dict().items()} == {
        name: tensor.shape for name, tensor in stored.items()
    }
    rebuilt.load_state_dict(stored)
    images = splits.val.images[:9].float() / 255
    assert torch.equal(rebuilt.eval()(images), made.eval()(images))
    assert parameters(network) != parameters(rebuilt)


def test_what_was_factorized_can_be_factorized_again(few):
    network, method = mlp_for(few, [32]), Factorize(0.5, 0, 1)
    once = method(network, task_of(few))
    twice = method(once, task_of(few))
    assert parameters(twice) < parameters(once)
    shapes = {name: tensor.shape for name, tensor in twice.state_dict().items()}
    method.architecture(once, shapes).load_state_dict(twice.state_dict())


def test_it_is_fine_tuned_as_long_as_said(few, recipe, machine):
    histories = []
    task = task_of(few, fitting(few, recipe, machine, histories))
    network = mlp_for(few, [16])
    cut = Factorize(0.5, 0, 1)(network, task)
    tuned = Factorize(0.5, 1, 0.5)(network, task)
    assert [len(history) for history in histories] == [1]
    assert not torch.equal(flat(cut), flat(tuned))


@pytest.mark.parametrize("family", ["cnn", "resnet"])
def test_networks_with_no_linear_layer_but_the_last_are_refused_in_one_line(few, family):
    with pytest.raises(BadSetting, match="no linear layer but the last: it is for mlp models") as error:
        Factorize(0.5, 0, 1)(built(family, few), task_of(few))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ((0, 0, 1), r"compress\.keep=0 is out of range"),
        ((1, 0, 1), r"compress\.keep=1 is out of range"),
        (("half", 0, 1), r"compress\.keep=half is not a number"),
        ((0.5, -1, 1), r"compress\.finetune_epochs"),
        ((0.5, 1.5, 1), r"compress\.finetune_epochs"),
        ((0.5, 1, 0), r"compress\.finetune_lr_scale"),
    ],
)
def test_knobs_out_of_range_are_named(knobs, message):
    with pytest.raises(BadSetting, match=message):
        Factorize(*knobs)
