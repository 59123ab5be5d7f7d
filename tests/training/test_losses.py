import math

import pytest
import torch

from kdbench.training.losses import cross_entropy, distillation


@pytest.fixture
def logits():
    random = torch.Generator().manual_seed(0)
    student = torch.randn(6, 10, generator=random, dtype=torch.float64, requires_grad=True)
    teacher = 3 * torch.randn(6, 10, generator=random, dtype=torch.float64)
    return student, teacher, torch.randint(10, (6,), generator=random)


def test_the_gradient_at_temperature_one_is_the_difference_of_probabilities(logits):
    student, teacher, labels = logits
    distillation(student, teacher, labels, temperature=1, alpha=0).backward()
    assert torch.allclose(student.grad, (student.softmax(1) - teacher.softmax(1)) / 6)


@pytest.mark.parametrize("temperature", [0.5, 2, 20])
def test_the_gradient_at_any_temperature(logits, temperature):
    student, teacher, labels = logits
    distillation(student, teacher, labels, temperature, alpha=0).backward()
    soft = (student / temperature).softmax(1) - (teacher / temperature).softmax(1)
    assert torch.allclose(student.grad, temperature * soft / 6)  # T² from the factor, 1/T from the chain rule


def test_at_high_temperature_distillation_matches_centred_logits(logits):
    # Hinton et al. 2015, section 2.1: the gradient tends to the difference of centred logits over N = 10 classes.
    student, teacher, labels = logits
    distillation(student, teacher, labels, temperature=1e4, alpha=0).backward()
    centred = [value - value.mean(1, keepdim=True) for value in (student, teacher)]
    assert torch.allclose(student.grad, (centred[0] - centred[1]) / 10 / 6, rtol=1e-2, atol=1e-5)


def test_a_teacher_that_agrees_costs_nothing(logits):
    student, _, labels = logits
    assert distillation(student, student.detach(), labels, 4, alpha=0).item() == pytest.approx(0, abs=1e-12)


def test_alpha_weighs_labels_against_teacher(logits):
    student, teacher, labels = logits
    hard = cross_entropy(student, labels)
    soft = distillation(student, teacher, labels, 4, alpha=0)
    assert torch.allclose(distillation(student, teacher, labels, 4, alpha=1), hard)
    assert torch.allclose(distillation(student, teacher, labels, 4, alpha=0.3), 0.3 * hard + 0.7 * soft)
    assert soft > 0


def test_the_divergence_is_from_the_teacher_and_a_mean_over_images():
    # Teacher (1/2, 1/2), student (1/4, 3/4): KL(teacher || student) = ln(2) - ln(3) / 2.
    student, teacher = torch.tensor([[0.0, math.log(3)]] * 4), torch.zeros(4, 2)
    found = distillation(student, teacher, torch.zeros(4, dtype=torch.int64), 1, alpha=0)
    assert found.item() == pytest.approx(math.log(2) - math.log(3) / 2, rel=1e-6)


def test_cross_entropy_of_ignorance_is_log_of_the_classes():
    labels = torch.arange(10)
    assert cross_entropy(torch.zeros(10, 10), labels).item() == pytest.approx(math.log(10), rel=1e-6)
