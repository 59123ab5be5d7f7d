import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tests.compress.tasks import fitting, task_of
from tests.training.methods import built, same

from kdbench.compress.distill.mutual import Mutual, mutual_loss
from kdbench.errors import BadSetting
from kdbench.training.criteria import LABELS


@pytest.fixture
def logits():
    return list(torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)).requires_grad_().unbind())


def test_each_learns_from_the_mean_of_the_others_who_are_only_looked_at(logits):
    labels = torch.tensor([0, 4, 2, 2])
    gradients = torch.autograd.grad(mutual_loss(logits, labels, 0.5), logits)
    for number, own in enumerate(logits):
        others = [other.detach().softmax(1) for position, other in enumerate(logits) if position != number]
        # The gradient of KL(p || softmax(z)) is softmax(z) - p.
        towards = own.softmax(1) - torch.stack(others).mean(0)
        expected = (own.softmax(1) - F.one_hot(labels, 5) + 0.5 * towards) / 4
        assert torch.allclose(gradients[number], expected, atol=1e-6)


def test_peers_are_other_networks_and_train_too(few, recipe, machine):
    seen = []
    fit_one = fitting(few, recipe, machine)

    def watched(network, criterion=LABELS, **options):
        before = [network, *criterion.modules]
        seen.append([{n: t.clone() for n, t in one.state_dict().items()} for one in before])
        fit_one(network, criterion, **options)
        seen.append([one.state_dict() for one in before])

    Mutual(3, 1.0)(built("mlp", few), task_of(few, watched))
    before, after = seen
    first = [one["1.1.weight"] for one in before]
    assert not any(torch.equal(first[i], first[j]) for i in range(3) for j in range(i))
    assert not any(
        torch.equal(one["1.1.weight"], other["1.1.weight"]) for one, other in zip(before, after, strict=True)
    )


def test_the_same_seed_gives_the_same_peers(few, recipe, machine):
    made = [Mutual(2, 1.0)(built("mlp", few), task_of(few, fitting(few, recipe, machine))) for _ in range(2)]
    assert same(*made)


def test_networks_that_start_alike_are_refused(few, recipe, machine):
    start = built("mlp", few)
    task = replace(task_of(few, fitting(few, recipe, machine)), another=lambda seed: copy.deepcopy(start))
    with pytest.raises(BadSetting, match="start from the same weights"):
        Mutual(2, 1.0)(start, task)


@pytest.mark.parametrize("seed", [0, 2_000_000, 4_000_000, 2_147_483_647])
def test_peers_have_seeds_of_their_own(seed, few):
    asked = []

    def another(number):
        asked.append(number)
        return built("mlp", few, number % 1000 + 1)

    task = replace(task_of(few, lambda *_, **__: None), seed=seed, another=another)
    Mutual(3, 1.0)(built("mlp", few), task)
    assert len({seed, *asked}) == 3
    assert all(0 <= number <= 2_147_483_647 for number in asked)
