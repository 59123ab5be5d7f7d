import pytest
import torch
from tests.compress.tasks import a_batch, used

from kdbench.training.attack import Attack
from kdbench.training.criteria import cross_entropy


@pytest.mark.parametrize(("eps", "step", "steps"), [(0.1, 0.05, 4), (0.3, 0.3, 1), (1.0, 0.2, 3)])
def test_images_stay_within_the_bound_and_between_black_and_white(few, eps, step, steps):
    network, batch = used("cnn", few), a_batch(few)
    changed = Attack(eps, step, steps)(lambda images: cross_entropy(network(images), batch.labels), batch.images)
    assert (changed - batch.images).abs().max() <= eps + 1e-6
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert not changed.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())


def test_of_a_linear_loss_it_finds_the_worst(few):
    batch = a_batch(few)
    weights = torch.randn(batch.images.shape, generator=torch.Generator().manual_seed(0))
    changed = Attack(0.1, 0.05, 6)(lambda images: (images * weights).sum(), batch.images)
    worst = (batch.images + 0.1 * weights.sign()).clamp(0, 1)
    assert torch.allclose(changed, worst, atol=1e-6)


def test_the_loss_grows(few):
    network, batch = used("cnn", few), a_batch(few)

    def loss(images):
        return cross_entropy(network(images), batch.labels)

    assert loss(Attack(0.2, 0.05, 8)(loss, batch.images)) > loss(batch.images)
