import pytest
import torch
from tests.compress.tasks import a_batch, in_full, task_of, used
from tests.training.methods import built

from kdbench.compress.distill import layers
from kdbench.compress.distill.hints import Hint, HintLoss
from kdbench.compress.distill.projection import Projection, alike
from kdbench.training.features import Output
from kdbench.training.teacher import Teacher


def test_equation_3_by_hand():
    regressor = Projection((2,), (3,))
    own, hint = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.5, 0.0, -1.0]])
    criterion = HintLoss(lambda batch, layers: Output(hint, {"h": hint}), "g", "h", regressor)
    difference = own @ regressor.linear.weight.T + regressor.linear.bias - hint
    assert torch.allclose(criterion(Output(own, {"g": own}), None), difference.pow(2).mean() / 2)


def test_only_the_layers_up_to_the_guided_one_are_trained(few, machine):
    seen = []
    task = task_of(
        few, lambda network, criterion, **_: seen.append(criterion), [Teacher(used("resnet", few), machine)]
    )
    Hint(1, student_layer="3")(built("cnn", few), task)
    student, batch = used("cnn", few), a_batch(few)
    seen[0](in_full(student, batch.images, seen[0].layers), batch).backward()
    trained = {name for name, parameter in student.named_parameters() if parameter.grad is not None}
    assert trained == {"1.0.weight", "1.1.weight", "1.1.bias"}


@pytest.mark.parametrize(
    ("own", "other", "together"),
    [
        ((4, 8, 8), (6, 8, 8), (6, 8, 8)),
        ((4, 8, 8), (6, 4, 4), (6, 4, 4)),
        ((4, 4, 4), (6, 8, 8), (6, 4, 4)),
        ((4, 8, 8), (10,), (10,)),
        ((10,), (6, 8, 8), (6,)),
        ((5,), (7,), (7,)),
    ],
)
def test_a_projection_bridges_any_two_shapes(own, other, together):
    found, target = Projection(own, other)(torch.randn(3, *own), torch.randn(3, *other))
    assert found.shape == target.shape == (3, *together)


def test_features_of_one_shape_stay_as_they_are():
    one, other = torch.randn(2, 3, 4, 4), torch.randn(2, 5, 4, 4)
    assert all(torch.equal(a, b) for a, b in zip(alike(one, other), (one, other), strict=True))


def test_stages_are_the_last_layers_of_each_shape_and_never_the_logits(few):
    network = built("cnn", few)
    found = layers.stages(network, few.shape, "student")
    assert list(found.values()) == [(4, 28, 28), (4, 14, 14), (6, 14, 14), (6, 7, 7), (6, 1, 1), (6,)] or found
    assert (10,) not in found.values()
    assert layers.last(network, few.shape, None, "student")[0] == list(found)[-1]
    assert layers.middle(network, few.shape, None, "student")[0] == list(found)[(len(found) - 1) // 2]
