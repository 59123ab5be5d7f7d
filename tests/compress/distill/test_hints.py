import pytest
import torch
from tests.compress.tasks import a_batch, in_full, task_of, used
from tests.training.methods import built

from kdbench.compress.distill import layers
from kdbench.compress.distill.hints import Hint, HintLoss
from kdbench.compress.distill.projection import Projection, alike
from kdbench.errors import BadSetting
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


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("mlp", {"2": (8,)}),
        ("cnn", {"3": (4, 14, 14), "8": (6,)}),
        ("resnet", {"3": (4, 28, 28), "6": (6,)}),
    ],
)
def test_a_stage_ends_where_weights_give_another_shape_and_neither_images_nor_logits_are_one(family, expected, few):
    network = built(family, few)
    found = layers.stages(network, few.shape, "student")
    assert found == expected
    assert layers.last(network, few.shape, None, "student") == list(found.items())[-1]
    assert layers.middle(network, few.shape, None, "student") == list(found.items())[(len(found) - 1) // 2]


@pytest.mark.parametrize("family", ["mlp", "cnn", "resnet"])
def test_without_a_name_a_hint_trains_weights_of_any_student(family, few, machine):
    seen = []
    task = task_of(
        few, lambda network, criterion, **_: seen.append(criterion), [Teacher(used("resnet", few), machine)]
    )
    Hint(1)(built(family, few), task)
    student, batch = used(family, few), a_batch(few)
    seen[0](in_full(student, batch.images, seen[0].layers), batch).backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in student.parameters())


def test_a_layer_before_all_weights_is_refused_with_those_that_can_be_taught(few, machine):
    task = task_of(few, teachers=[Teacher(used("resnet", few), machine)])
    with pytest.raises(BadSetting, match=r"layer 0 has no weights .* before it: choose from 1, 2, 3"):
        Hint(1, student_layer="0")(built("mlp", few), task)
