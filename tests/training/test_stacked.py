import copy
from dataclasses import replace

import pytest
import torch
from tests.training.methods import FAMILIES, Double, Scaled, built, cnn_of, flat, mlp_of, resnet_of
from torch import nn

from kdbench.errors import NotFinite
from kdbench.training.constraints import KeepZeros
from kdbench.training.fit import fit, fit_all
from kdbench.training.learner import Learner
from kdbench.training.stacked import Alone, Stacked, stackable

MAKERS = {
    "mlp": lambda seed: mlp_of([16], seed),
    "cnn": lambda seed: cnn_of([4, 6], seed, "flatten"),
    "resnet": lambda seed: resnet_of([4, 8], seed),
}


def networks(name: str, count: int = 3) -> list[nn.Module]:
    return [MAKERS[name](seed) for seed in range(count)]


gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=gpu)])
@pytest.mark.parametrize("name", MAKERS)
def test_seeds_trained_together_come_out_as_each_would_alone(name, device, few, recipe, machine):
    assert_each_comes_out_as_alone(
        lambda: networks(name), few, replace(recipe, shift=2), replace(machine, device=device)
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_so_do_networks_for_images_of_another_shape(family, colours, recipe, machine):
    assert_each_comes_out_as_alone(
        lambda: [built(family, colours, seed) for seed in range(2)], colours, replace(recipe, epochs=1), machine
    )


def assert_each_comes_out_as_alone(make, splits, recipe, machine):
    splits = replace(splits, train=splits.train[: 2 * recipe.batch_size], val=splits.val[:40])
    together, alone = ([Double(model) for model in make()] for _ in range(2))
    learners = [Learner(model, seed) for seed, model in enumerate(together)]
    histories = fit_all(learners, splits.train, splits.val, recipe, machine)
    for seed, model in enumerate(alone):
        (history,) = fit_all([Learner(model, seed)], splits.train, splits.val, recipe, machine)
        assert torch.allclose(flat(together[seed]), flat(model), atol=1e-6, rtol=1e-6)
        for one, other in zip(histories[seed], history, strict=True):
            assert one.val_loss == pytest.approx(other.val_loss, rel=1e-5)
            assert (one.epoch, one.val_accuracy, one.classes) == (other.epoch, other.val_accuracy, other.classes)
    assert not torch.allclose(flat(together[0]), flat(together[1]), atol=1e-2)


def test_each_has_its_own_loss_and_its_own_constraint(few, recipe, machine):
    together, alone = networks("mlp", 2), networks("mlp", 2)

    def learner(models: list[nn.Module], seed: int) -> Learner:
        shape = models[seed][1].weight.shape
        mask = (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) > 0.5).float()
        return Learner(models[seed], seed, Scaled(seed + 1), [KeepZeros({"1.weight": mask})])

    fit_all([learner(together, seed) for seed in range(2)], few.train, few.val, recipe, machine)
    for seed in range(2):
        fit_all([learner(alone, seed)], few.train, few.val, recipe, machine)
        assert torch.equal(together[seed][1].weight == 0, alone[seed][1].weight == 0)
        assert 0.4 < (together[seed][1].weight == 0).float().mean() < 0.6
        assert torch.allclose(flat(together[seed]), flat(alone[seed]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", MAKERS)
def test_low_precision_is_that_of_autocast(name, machine):
    models = [model.train() for model in networks(name)]
    images = torch.rand(3, 8, 1, 28, 28)

    def logits(precision: str, make: type) -> torch.Tensor:
        own = copy.deepcopy(models)
        chosen = replace(machine, precision=precision)
        if make is Stacked:
            outputs = Stacked(own, chosen)(images)
        else:
            outputs = [Alone(model, chosen)([images[position]])[0] for position, model in enumerate(own)]
        assert all(output.logits.dtype == torch.float32 for output in outputs)  # in which losses are computed
        return torch.stack([output.logits for output in outputs])

    low = logits("bf16", Stacked)
    assert torch.equal(low, low.bfloat16().float())  # nothing finer than bf16 can be in it
    assert not torch.equal(logits("fp32", Stacked), logits("fp32", Stacked).bfloat16().float())
    off = (low - logits("bf16", Alone)).abs().mean()
    rounding = (logits("bf16", Alone) - logits("fp32", Alone)).abs().mean()
    assert off < 2 * rounding
    assert torch.allclose(logits("fp32", Stacked), logits("fp32", Alone), atol=1e-4)


def test_one_that_diverges_is_named_and_leaves_the_others_as_they_are(few, recipe, machine):
    models = networks("mlp", 2)
    broken = Learner(models[0], 0, Scaled(float("nan")), title="the first")
    first, second = fit_all([broken, Learner(models[1], 1)], few.train, few.val, recipe, machine)
    assert isinstance(first, NotFinite)
    assert "the first diverged in epoch 1" in str(first)
    assert len(second) == recipe.epochs
    alone = networks("mlp", 2)[1]
    history = fit(Learner(alone, 1), few.train, few.val, recipe, machine)
    assert second[-1].val_loss == pytest.approx(history[-1].val_loss, rel=1e-4)
    assert torch.allclose(flat(models[1]), flat(alone), atol=1e-5)


@pytest.mark.parametrize("make", [Alone, Stacked])
def test_one_value_a_channel_is_nothing_to_normalise(make, machine):
    models = [nn.Sequential(nn.BatchNorm2d(2)).train() for _ in range(2)]
    network = make(models, machine) if make is Stacked else make(models[0], machine)
    with pytest.raises(ValueError, match=r"more than (1|one) value"):
        network([torch.rand(1, 2, 1, 1)] * 2)


def test_only_likes_without_dropout_are_stackable():
    first, second = networks("mlp", 2)
    assert stackable([first, second])
    assert not stackable([first])
    assert not stackable([first, mlp_of([17])])
    assert not stackable([nn.Sequential(nn.Dropout(0.1), first), nn.Sequential(nn.Dropout(0.1), second)])
