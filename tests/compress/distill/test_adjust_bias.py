import pytest
import torch
from tests.compress.tasks import task_of, used
from torch import nn

from kdbench.compress.distill.adjust_bias import AdjustBias, best_shift, logits_of
from kdbench.errors import BadSetting


@pytest.mark.parametrize("seed", range(5))
def test_the_shift_is_the_best_of_all(seed):
    random = torch.Generator().manual_seed(seed)
    logits, labels = torch.randn(200, 5, generator=random), torch.randint(5, (200,), generator=random)
    moved = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0])

    def hits(by):
        return int(((logits + by * moved).argmax(1) == labels).sum())

    assert hits(best_shift(logits, labels, moved)) == max(map(hits, torch.linspace(-8, 8, 4001).tolist()))


def test_equal_thresholds_leave_nothing_between_them():
    """Three images change their class at once: the first cannot be had without the others."""
    logits = torch.tensor([[-1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])
    labels, moved = torch.tensor([0, 1, 1]), torch.tensor([1.0, 0.0])

    def hits(by):
        return int(((logits + by * moved).argmax(1) == labels).sum())

    assert hits(best_shift(logits, labels, moved)) == 2


def test_a_layer_that_does_not_give_the_logits_is_not_moved(few):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(10, 10)
            self.body = nn.Linear(784, 10)

        def forward(self, images):
            return self.head(self.body(images.flatten(1)))

    class Turned(Own):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(784, 10)
            del self.body

        def forward(self, images):
            return -self.head(images.flatten(1))

    for network in (Own(), Turned()):
        with pytest.raises(BadSetting, match="does not give the logits as they are"):
            AdjustBias([3]).check(network, (), task_of(few).data)


def test_only_the_named_classes_are_moved_and_by_what_was_said(few):
    network = used("cnn", few)
    made = AdjustBias(["3", 8], 2.5)(network, task_of(few))
    moved = logits_of(made, few.val.images) - logits_of(network, few.val.images)
    expected = torch.zeros(10)
    expected[[3, 8]] = 2.5
    assert torch.allclose(moved, expected.expand_as(moved), atol=1e-5)


def test_without_a_number_validation_decides(few):
    network = used("cnn", few)
    with torch.no_grad():
        network.model[-1].bias[3] -= 9
    made = AdjustBias([3])(network, task_of(few))

    def right(one):
        return int((logits_of(one, few.val.images).argmax(1) == few.val.labels).sum())

    assert right(made) >= right(network)


def test_a_class_that_there_is_not_is_named(few):
    with pytest.raises(BadSetting, match=r"compress\.classes=x is no class: choose from 0, 1"):
        AdjustBias(["x"])(used("cnn", few), task_of(few))


def test_all_classes_cannot_be_moved_against_none(few):
    with pytest.raises(BadSetting, match="names all classes"):
        AdjustBias(list(range(10)))(used("cnn", few), task_of(few))
