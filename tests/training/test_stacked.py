import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from kdbench.errors import NotFinite
from kdbench.models.cnn import CNN
from kdbench.models.mlp import MLP
from kdbench.models.resnet import ResNet
from kdbench.training.fit import Learner, fit, fit_all, label_loss
from kdbench.training.stacked import Alone, Stacked, stackable

MAKERS = {
    "mlp": lambda: MLP([16]),
    "cnn": lambda: CNN([4, 6], 1, "flatten"),
    "resnet": lambda: ResNet([4, 8], 1),
}


class Double(nn.Module):
    """A network that computes in float64, where what is equal up to rounding stays so over many steps."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner.double()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.inner(images.double())


def networks(name: str, count: int = 3) -> list[nn.Module]:
    made = []
    for seed in range(count):
        torch.manual_seed(seed)
        made.append(MAKERS[name]())
    return made


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([tensor.detach().flatten().double() for tensor in model.state_dict().values()])


@pytest.mark.parametrize("name", MAKERS)
def test_seeds_trained_together_come_out_as_each_would_alone(name, few, recipe, machine):
    recipe = replace(recipe, shift=2)
    together, alone = ([Double(model) for model in networks(name)] for _ in range(2))
    histories = fit_all(
        [Learner(model, seed) for seed, model in enumerate(together)], few.train, few.val, recipe, machine
    )
    for seed, model in enumerate(alone):
        (history,) = fit_all([Learner(model, seed)], few.train, few.val, recipe, machine)
        assert torch.allclose(flat(together[seed]), flat(model), atol=1e-6, rtol=1e-6)
        if isinstance(history, Exception):  # the ResNet sees too little to tell the digits apart
            assert (type(histories[seed]), str(histories[seed])) == (type(history), str(history))
        else:
            assert histories[seed][-1].val_loss == pytest.approx(history[-1].val_loss, rel=1e-5)
    assert not torch.allclose(flat(together[0]), flat(together[1]), atol=1e-2)


def test_each_has_its_own_loss_and_its_own_constraint(few, recipe, machine):
    together, alone = networks("mlp", 2), networks("mlp", 2)

    def learner(models: list[nn.Module], seed: int) -> Learner:
        weight = models[seed][1].weight
        mask = (torch.rand(weight.shape, generator=torch.Generator().manual_seed(seed)) > 0.5).float()

        @torch.no_grad()
        def hold() -> None:
            weight.mul_(mask)

        return Learner(models[seed], seed, lambda logits, batch: (seed + 1) * label_loss(logits, batch), hold)

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
            return Stacked(own, chosen)(images)
        return torch.stack([Alone(model, chosen)([images[position]])[0] for position, model in enumerate(own)])

    assert logits("bf16", Stacked).dtype == torch.bfloat16
    assert logits("fp32", Stacked).dtype == torch.float32
    off = (logits("bf16", Stacked) - logits("bf16", Alone)).abs().mean()
    rounding = (logits("bf16", Alone) - logits("fp32", Alone)).abs().mean()
    assert off < 2 * rounding
    assert torch.allclose(logits("fp32", Stacked), logits("fp32", Alone), atol=1e-4)


def test_one_that_diverges_is_named_and_leaves_the_others_as_they_are(few, recipe, machine):
    models = networks("mlp", 2)
    broken = Learner(models[0], 0, lambda logits, batch: label_loss(logits, batch) * float("nan"), title="the first")
    first, second = fit_all([broken, Learner(models[1], 1)], few.train, few.val, recipe, machine)
    assert isinstance(first, NotFinite)
    assert "the first diverged in epoch 1" in str(first)
    assert len(second) == recipe.epochs
    alone = networks("mlp", 2)[1]
    assert second[-1].val_loss == pytest.approx(
        fit(alone, few.train, few.val, recipe, machine, 1)[-1].val_loss, rel=1e-4
    )
    assert torch.allclose(flat(models[1]), flat(alone), atol=1e-5)


def test_only_likes_without_dropout_are_stackable():
    first, second = networks("mlp", 2)
    assert stackable([first, second])
    assert not stackable([first])
    assert not stackable([first, MLP([17])])
    assert not stackable([nn.Sequential(nn.Dropout(0.1), first), nn.Sequential(nn.Dropout(0.1), second)])
