import pytest
import torch
import torch.nn.functional as F
from tests.compress.tasks import a_batch, in_full, used
from torch import nn

from kdbench.compress.adversarial.robust_distillation import AttackedTargets, RobustDistillation
from kdbench.training.teacher import Teacher


def criterion_and_batch(alpha, student, few, machine, temperature=4.0):
    method = RobustDistillation(temperature, alpha, 0.1, 0.05, 2)
    criterion = AttackedTargets(method, Teacher(used("resnet", few, 1), machine), in_full)
    return criterion, criterion.prepare(a_batch(few), student)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_equation_4_by_hand(alpha, few, machine):
    student, clean = used("mlp", few), a_batch(few)
    criterion, batch = criterion_and_batch(alpha, student, few, machine)
    attacked = batch.images[:12]
    soft = F.softmax(in_full(used("resnet", few, 1), clean.images).logits / 4, dim=1)
    own = F.log_softmax(in_full(student, attacked).logits / 4, dim=1)
    divergence = (soft * (soft.log() - own)).sum(1).mean()
    labels = F.cross_entropy(in_full(student, clean.images).logits, clean.labels)
    expected = (1 - alpha) * 16 * divergence + alpha * labels
    assert torch.allclose(criterion(in_full(student, batch.images), batch), expected, atol=1e-5)
    assert 0.01 < (attacked - clean.images).abs().max() <= 0.1 + 1e-6


def test_batch_norm_counts_each_image_once_and_none_on_the_way_to_an_attack(few, machine):
    student = used("cnn", few).train()
    norms = [module for module in student.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [int(norm.num_batches_tracked) for norm in norms]
    for alpha, images in ((0.0, 12), (0.3, 24)):
        criterion, batch = criterion_and_batch(alpha, student, few, machine)
        criterion(in_full(student, batch.images), batch)
        assert len(batch.images) == len(batch.labels) == len(batch.index) == images
    assert [int(norm.num_batches_tracked) for norm in norms] == [count + 2 for count in before]
