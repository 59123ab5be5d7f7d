import math

import pytest
import torch
import torch.nn.functional as F
from tests.compress.tasks import a_batch, fitting, task_of, used
from tests.training.methods import built, same

from kdbench.compress.distill.soft_targets import Distill, SoftTargets, distillation, mean_log_probabilities
from kdbench.errors import BadSetting
from kdbench.training.criteria import cross_entropy
from kdbench.training.features import Output
from kdbench.training.teacher import Teacher


@pytest.fixture
def logits():
    random = torch.Generator().manual_seed(0)
    student = torch.randn(6, 10, generator=random, dtype=torch.float64, requires_grad=True)
    teacher = 3 * torch.randn(6, 10, generator=random, dtype=torch.float64)
    return student, teacher, torch.randint(10, (6,), generator=random)


def taught(student, teacher, labels, temperature, alpha):
    """The loss under one teacher."""
    soft = mean_log_probabilities([teacher], [1.0], temperature)
    return distillation(student, soft, labels, temperature, alpha)


def as_it_was(student, teacher, labels, temperature, alpha):
    """The loss of the first version, which knew one teacher."""
    soft = F.kl_div(
        F.log_softmax(student / temperature, dim=1),
        F.log_softmax(teacher / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return alpha * cross_entropy(student, labels) + (1 - alpha) * temperature**2 * soft


def test_the_gradient_at_temperature_one_is_the_difference_of_probabilities(logits):
    student, teacher, labels = logits
    taught(student, teacher, labels, temperature=1, alpha=0).backward()
    assert torch.allclose(student.grad, (student.softmax(1) - teacher.softmax(1)) / 6)


@pytest.mark.parametrize("temperature", [0.5, 2, 20])
def test_the_gradient_at_any_temperature(logits, temperature):
    student, teacher, labels = logits
    taught(student, teacher, labels, temperature, alpha=0).backward()
    soft = (student / temperature).softmax(1) - (teacher / temperature).softmax(1)
    assert torch.allclose(student.grad, temperature * soft / 6)  # T² from the factor, 1/T from the chain rule


def test_at_high_temperature_distillation_matches_centred_logits(logits):
    # Hinton et al. 2015, section 2.1: the gradient tends to the difference of centred logits over N = 10 classes.
    student, teacher, labels = logits
    taught(student, teacher, labels, temperature=1e4, alpha=0).backward()
    centred = [value - value.mean(1, keepdim=True) for value in (student, teacher)]
    assert torch.allclose(student.grad, (centred[0] - centred[1]) / 10 / 6, rtol=1e-2, atol=1e-5)


def test_the_size_of_the_gradient_hardly_depends_on_a_high_temperature(logits):
    # What T² is for: without it the gradient at T = 40 is a sixteenth of that at T = 10.
    student, teacher, labels = logits
    sizes = []
    for temperature in (10, 20, 40):
        (gradient,) = torch.autograd.grad(taught(student, teacher, labels, temperature, alpha=0), student)
        sizes.append(float(gradient.norm()))
    assert max(sizes) / min(sizes) < 1.2


def test_a_teacher_that_agrees_costs_nothing(logits):
    student, _, labels = logits
    assert taught(student, student.detach(), labels, 4, alpha=0).item() == pytest.approx(0, abs=1e-12)


def test_alpha_weighs_labels_against_teacher(logits):
    student, teacher, labels = logits
    hard = cross_entropy(student, labels)
    soft = taught(student, teacher, labels, 4, alpha=0)
    assert torch.allclose(taught(student, teacher, labels, 4, alpha=1), hard)
    assert torch.allclose(taught(student, teacher, labels, 4, alpha=0.3), 0.3 * hard + 0.7 * soft)
    assert soft > 0


def test_the_divergence_is_from_the_teacher_and_a_mean_over_images():
    # Teacher (1/2, 1/2), student (1/4, 3/4): KL(teacher || student) = ln(2) - ln(3) / 2.
    student, teacher = torch.tensor([[0.0, math.log(3)]] * 4), torch.zeros(4, 2)
    found = taught(student, teacher, torch.zeros(4, dtype=torch.int64), 1, alpha=0)
    assert found.item() == pytest.approx(math.log(2) - math.log(3) / 2, rel=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("alpha", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weights", [[1.0], [7.0]])
def test_one_teacher_gives_the_loss_it_always_gave_bit_for_bit(few, machine, temperature, alpha, weights):
    teacher = Teacher(used("cnn", few, 1), machine)
    batch, output = a_batch(few), torch.randn(12, 10, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss = SoftTargets([teacher], weights, temperature, alpha)(Output(output), batch)
    before = as_it_was(output, teacher(batch).logits, batch.labels, temperature, alpha)
    assert torch.equal(loss, before)
    (gradient,), (expected,) = torch.autograd.grad(loss, output), torch.autograd.grad(before, output)
    assert torch.equal(gradient, expected)


@pytest.fixture
def three():
    random = torch.Generator().manual_seed(1)
    return [3 * torch.randn(6, 10, generator=random, dtype=torch.float64) for _ in range(3)]


@pytest.mark.parametrize("temperature", [0.5, 1, 4])
@pytest.mark.parametrize("weights", [[1, 1, 1], [1, 2, 3], [0.2, 0.3, 0.5]])
def test_several_teachers_are_the_mean_of_their_probabilities(three, temperature, weights):
    found = mean_log_probabilities(three, weights, temperature)
    mean = sum(w * (own / temperature).softmax(1) for w, own in zip(weights, three, strict=True)) / sum(weights)
    assert torch.allclose(found, mean.log())
    assert torch.allclose(found.exp().sum(1), torch.ones(6, dtype=torch.float64))


@pytest.mark.parametrize("factor", [0.01, 3, 1000])
def test_of_weights_only_their_ratios_count(three, factor):
    weights = [1, 2, 3]
    found = mean_log_probabilities(three, [factor * weight for weight in weights], 2)
    assert torch.allclose(found, mean_log_probabilities(three, weights, 2))


def test_two_teachers_that_say_the_same_are_one(three):
    for weights in ([1, 1], [1, 5]):
        both = mean_log_probabilities([three[0], three[0]], weights, 2)
        assert torch.allclose(both, mean_log_probabilities(three[:1], [1], 2), rtol=1e-12, atol=1e-12)


def test_a_teacher_of_next_to_no_weight_says_next_to_nothing(three):
    alone = mean_log_probabilities(three[:1], [1], 2).exp()
    distances = [
        float((mean_log_probabilities(three[:2], [1, tiny], 2).exp() - alone).abs().max())
        for tiny in (1e-1, 1e-3, 1e-6, 1e-12)
    ]
    assert distances == sorted(distances, reverse=True)
    assert 0 < distances[2] < 1e-6
    assert distances[3] < 1e-12


def test_confident_teachers_do_not_overflow():
    extreme = [torch.tensor([[1e4, 0.0]]), torch.tensor([[0.0, 1e4]])]
    assert torch.allclose(mean_log_probabilities(extreme, [1, 3], 1).exp(), torch.tensor([[0.25, 0.75]]))


def test_the_criterion_asks_every_teacher_and_weighs_it(few, machine):
    teachers = [Teacher(used(family, few, 1), machine) for family in ("cnn", "mlp")]
    batch, output = a_batch(few), torch.randn(12, 10)
    loss = SoftTargets(teachers, [1, 3], 2.0, 0.25)(Output(output), batch)
    answers = [(teacher(batch).logits / 2).softmax(1) for teacher in teachers]
    soft = (0.25 * answers[0] + 0.75 * answers[1]).log()
    kl = F.kl_div((output / 2).log_softmax(1), soft, reduction="batchmean", log_target=True)
    assert torch.allclose(loss, 0.25 * cross_entropy(output, batch.labels) + 0.75 * 4 * kl)


@pytest.mark.parametrize("families", [["cnn"], ["cnn", "mlp"]])
def test_a_student_of_images_of_another_shape_comes_closer_to_its_teachers(colours, recipe, machine, families):
    teachers = [Teacher(used(family, colours, 1), machine) for family in families]
    histories, start = [], built("resnet", colours)
    task = task_of(colours, fitting(colours, recipe, machine, histories), teachers)
    student = Distill(2, 0, epochs=6, lr_scale=2)(start, task)
    assert len(histories[0]) == 6
    assert histories[0][-1].train_loss < histories[0][0].train_loss
    assert same(start, built("resnet", colours))
    assert student(torch.rand(2, 3, 32, 32)).shape == (2, 7)


def test_epochs_and_rate_are_the_recipes_unless_they_are_said(few, machine):
    seen = []
    task = task_of(few, lambda network, criterion, **knobs: seen.append(knobs), [Teacher(built("mlp", few), machine)])
    Distill(2, 0)(built("mlp", few), task)
    Distill(2, 0, epochs=3, lr_scale=0.1)(built("mlp", few), task)
    assert seen == [{"epochs": None, "share": 1.0, "lr_scale": 1.0}, {"epochs": 3, "share": 1.0, "lr_scale": 0.1}]


@pytest.mark.parametrize("knobs", [(0, 0.5), (-1, 0.5), (4, -0.1), (4, 1.1), ("hot", 0.5), (float("nan"), 0.5)])
def test_knobs_out_of_range_are_named(knobs):
    with pytest.raises(BadSetting, match=r"compress\.(temperature|alpha)="):
        Distill(*knobs)


@pytest.mark.parametrize(
    ("knobs", "field"),
    [
        ({"teacher_weights": [1, 0]}, "teacher_weights=0 is out of range"),
        ({"teacher_weights": [1, -1]}, "teacher_weights=-1 is out of range"),
        ({"teacher_weights": ["half"]}, "teacher_weights=half is not a number"),
        ({"teacher_weights": [float("inf")]}, "teacher_weights=inf is not a number"),
        ({"teacher_weights": 2}, r"teacher_weights=2 is not a list, such as compress\.teacher_weights=\[2,1\]"),
        ({"teacher_weights": "2,1"}, "teacher_weights=2,1 is not a list"),
        ({"teacher_weights": []}, r"teacher_weights=\[\] is not a list"),
        ({"epochs": -1}, "epochs=-1"),
        ({"epochs": 1.5}, r"epochs=1\.5"),
        ({"lr_scale": 0}, "lr_scale=0"),
    ],
)
def test_further_knobs_out_of_range_are_named(knobs, field):
    with pytest.raises(BadSetting, match=rf"compress\.{field}"):
        Distill(2, 0.5, **knobs)


def test_as_many_weights_as_teachers_or_none(few, machine):
    teachers = [Teacher(built("mlp", few, seed), machine) for seed in range(2)]
    for weights in ([1], [1, 2, 3]):
        with pytest.raises(BadSetting, match=r"compress\.teacher_weights=\[.*\] are not 2, one a teacher"):
            Distill(4, 0.5, weights)(built("mlp", few), task_of(few, teachers=teachers))


def test_without_a_teacher_the_error_says_where_to_name_one(few):
    with pytest.raises(BadSetting, match="teacher: auto"):
        Distill(4, 0.5)(built("mlp", few), task_of(few))
