"""Losses of how the images of a batch lie to each other."""

import pytest
import torch
import torch.nn.functional as F
from tests.compress.tasks import a_batch, in_full, used

from kdbench.compress.distill.pairs import PairLoss
from kdbench.compress.distill.relational import Relational, angles, distances
from kdbench.compress.distill.similarity import Similarity, similarities
from kdbench.training.teacher import Teacher


def features(seed: int, count: int = 7, numbers: int = 5) -> torch.Tensor:
    return torch.randn(count, numbers, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_similarities_by_hand():
    # Products [[1, 1], [1, 2]], their rows at length 1.
    found = similarities(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    assert torch.allclose(found, torch.tensor([[2**-0.5, 2**-0.5], [5**-0.5, 2 * 5**-0.5]]))


def test_the_similarity_loss_is_gamma_times_the_mean_square():
    own, other = features(0), features(1, numbers=9)  # of other widths
    expected = 3.0 / 49 * (similarities(own) - similarities(other)).norm() ** 2
    assert torch.allclose(Similarity(gamma=3.0).distance(own, other), expected)


def test_distances_are_those_of_pairs_over_their_mean():
    x = features(0)
    plain = torch.cdist(x, x)
    assert torch.allclose(distances(x), plain / plain[plain > 0].mean())


def test_angles_are_those_at_the_second_of_three():
    x = features(0)
    apart = x[:, None] - x[None]  # [i, j] is x_i - x_j
    expected = torch.zeros(7, 7, 7, dtype=torch.float64)
    for i in range(7):
        for j in range(7):
            for k in range(7):
                if j not in (i, k):
                    expected[i, j, k] = F.cosine_similarity(apart[i, j], apart[k, j], dim=0)
    assert torch.allclose(angles(x), expected, atol=1e-9)


def test_the_relational_loss_is_hubers():
    own, other = features(0), features(1, numbers=9)
    expected = 25 * F.smooth_l1_loss(distances(own), distances(other))
    expected = expected + 50 * F.smooth_l1_loss(angles(own), angles(other))
    assert torch.allclose(Relational().distance(own, other), expected)
    assert torch.allclose(
        Relational(25.0, 0.0).distance(own, other) * 2,
        Relational(50.0, 0.0).distance(own, other),
    )


@pytest.mark.parametrize("method", [Similarity(), Relational()])
@pytest.mark.parametrize("change", [lambda x: 3 * x, lambda x: x @ torch.linalg.qr(features(5, 5, 5))[0]])
def test_scale_and_rotation_cost_nothing(method, change):
    x = features(0)
    assert method.distance(change(x), x).abs() < 1e-9


@pytest.mark.parametrize("method", [Similarity(), Relational()])
def test_equal_images_are_no_nan(method):
    same = torch.ones(4, 3, requires_grad=True)
    loss = method.distance(same * torch.tensor([1.0, 1.0, 1.0]), features(1, 4).float())
    loss.backward()
    assert torch.isfinite(same.grad).all()


@pytest.mark.parametrize("method", [Similarity(), Relational()])
def test_the_criterion_is_the_cross_entropy_and_the_distance(method, few, machine):
    student, teacher, batch = used("cnn", few), used("resnet", few, 1), a_batch(few)
    own, other = "0", "0"
    criterion = PairLoss(method, Teacher(teacher, machine), own, other)
    output = in_full(student, batch.images, [own])
    theirs = in_full(teacher, batch.images, [other]).features[other]
    distance = method.distance(output.features[own].flatten(1), theirs.flatten(1))
    assert distance > 0.01
    assert torch.allclose(
        criterion(output, batch), F.cross_entropy(output.logits, batch.labels) + distance, atol=1e-5
    )
