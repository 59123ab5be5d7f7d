import pytest
import torch
import torch.nn.functional as F

from kdbench.compress.distill.decoupled import Decoupled, DecoupledTargets, binary, other_classes, target_class
from kdbench.compress.distill.soft_targets import distillation
from kdbench.training.batches import Batch
from kdbench.training.features import Output


@pytest.fixture
def logits():
    random = torch.Generator().manual_seed(0)
    return torch.randn(2, 6, 10, generator=random, dtype=torch.float64)


LABELS = torch.tensor([0, 3, 9, 3, 5, 1])


def test_weighed_by_what_the_teacher_leaves_to_the_others_both_parts_are_the_whole_divergence(logits):
    """Equation 5 of the paper: KL = TCKD + (1 - p_label) NCKD."""
    own, soft = (one.log_softmax(1) for one in logits)
    left = 1 - soft.exp()[torch.arange(6), LABELS]
    whole = F.kl_div(own, soft, reduction="none", log_target=True).sum(1)
    assert torch.allclose(target_class(own, soft, LABELS) + left * other_classes(own, soft, LABELS), whole)


def test_a_hand_made_case():
    teacher = torch.tensor([[0.5, 0.3, 0.2]]).log()
    student = torch.tensor([[0.8, 0.1, 0.1]]).log()
    labels = torch.tensor([0])
    tckd = 0.5 * torch.log(torch.tensor(0.5 / 0.8)) + 0.5 * torch.log(torch.tensor(0.5 / 0.2))
    nckd = 0.6 * torch.log(torch.tensor(0.6 / 0.5)) + 0.4 * torch.log(torch.tensor(0.4 / 0.5))
    assert torch.allclose(binary(teacher, labels).exp(), torch.tensor([[0.5, 0.5]]))
    assert torch.allclose(target_class(student, teacher, labels), tckd)
    assert torch.allclose(other_classes(student, teacher, labels), nckd)


def test_of_two_classes_nothing_is_left_beside_the_label(logits):
    own, soft = (one[:, :2].log_softmax(1) for one in logits)
    labels = torch.tensor([0, 1, 0, 1, 1, 0])
    assert torch.allclose(other_classes(own, soft, labels), torch.zeros(6, dtype=torch.float64))


def test_confident_networks_do_not_overflow():
    logits = torch.tensor([[200.0, -200.0, 0.0]], requires_grad=True)
    loss = DecoupledTargets(lambda batch: Output(torch.tensor([[-300.0, 0.0, 300.0]])), Decoupled(1.0, 1.0, 8.0))(
        Output(logits), Batch(torch.zeros(1, 1, 8, 8), torch.tensor([0]), torch.arange(1))
    )
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_a_teacher_that_agrees_leaves_the_labels(logits):
    batch = Batch(torch.zeros(6, 1, 8, 8), LABELS, torch.arange(6))
    criterion = DecoupledTargets(lambda batch: Output(logits[0]), Decoupled(4.0, 1.0, 8.0))
    assert torch.allclose(criterion(Output(logits[0]), batch), distillation(logits[0], logits[0], LABELS, 1, 1))
