"""What holds of every method that learns from a teacher, or from equals."""

import copy
from dataclasses import replace

import pytest
import torch
from tests.compress.tasks import a_batch, fitting, in_full, task_of, used
from tests.training.methods import built, flat, same

from kdbench.compress.adversarial.pgd_training import PGDTraining
from kdbench.compress.adversarial.robust_distillation import RobustDistillation
from kdbench.compress.distill.attention import Attention
from kdbench.compress.distill.contrastive import Contrastive
from kdbench.compress.distill.data_free import DataFree
from kdbench.compress.distill.decoupled import Decoupled
from kdbench.compress.distill.hints import Hint
from kdbench.compress.distill.mixup import Mixup
from kdbench.compress.distill.mutual import Mutual
from kdbench.compress.distill.relational import Relational
from kdbench.compress.distill.similarity import Similarity
from kdbench.compress.distill.soft_targets import Distill
from kdbench.errors import BadSetting
from kdbench.training.criteria import LABELS
from kdbench.training.teacher import Teacher

METHODS = {
    "soft targets": Distill(2.0, 0.5),
    "decoupled": Decoupled(2.0, 1.0, 8.0),
    "hints": Hint(1),
    "attention": Attention(1.0),
    "similarity": Similarity(),
    "relational": Relational(),
    "contrastive": Contrastive(0.8, 0.07, 32, 8),
    "mixup": Mixup(2.0, 0.5, 1.0),
    "robust": RobustDistillation(2.0, 0.5, 0.1, 0.05, 2),
    "data free": DataFree(4.0, 128, 3, 64, 2, 8, 4, 1.0, 5.0, 1.0, 0.5),
    "mutual": Mutual(2, 1.0),
    "adversarial": PGDTraining(0.1, 0.05, 2),
}
WITHOUT_TEACHER = ("mutual", "adversarial")
OF_MAPS = ("attention",)  # which mlp models have none of


def teachers_for(name, splits, machine, family="resnet"):
    return [] if name in WITHOUT_TEACHER else [Teacher(used(family, splits, 1), machine)]


def handed_to_fit(method, student, task_for):
    """The criterion that a method trains with."""
    seen = []

    def fit_one(network, criterion=LABELS, **options):
        seen.append(criterion)

    method(student, task_for(fit_one))
    return seen[0]


@pytest.mark.parametrize("name", METHODS)
def test_a_teacher_stays_as_it_is_to_the_bit_and_the_student_learns_in_train_mode(name, few, recipe, machine):
    few = replace(few, train=few.train[:64], val=few.val[:20])
    recipe = replace(recipe, batch_size=32)
    teachers = teachers_for(name, few, machine)
    before = [copy.deepcopy(teacher.network) for teacher in teachers]
    student, modes = built("cnn", few), []
    student[0].register_forward_hook(lambda module, *_: modes.append((torch.is_grad_enabled(), module.training)))
    made = METHODS[name](student, task_of(few, fitting(few, recipe, machine), teachers, family="cnn"))
    epochs = 1 if name == "hints" else recipe.epochs
    assert sum(graph and training for graph, training in modes) >= 2 * epochs  # in every step of every epoch
    assert all(same(teacher.network, old) for teacher, old in zip(teachers, before, strict=True))
    assert not any(parameter.grad is not None for teacher in teachers for parameter in teacher.network.parameters())
    assert not any(teacher.network.training for teacher in teachers)
    assert not torch.equal(flat(made), flat(student))  # and what it was given is not changed
    assert same(student, built("cnn", few))
    assert made.state_dict().keys() == student.state_dict().keys()  # nothing that was trained along is left in it


@pytest.mark.parametrize("family", ["mlp", "resnet", "cnn"])
@pytest.mark.parametrize("name", METHODS)
def test_a_loss_is_not_identically_zero_and_reaches_the_student_from_any_teacher(name, family, few, machine):
    if name in OF_MAPS and family == "mlp":
        pytest.skip("an mlp gives no maps")
    student = used("cnn", few)
    teachers = teachers_for(name, few, machine, family)
    criterion = handed_to_fit(METHODS[name], student, lambda fit: task_of(few, fit, teachers, family="cnn"))
    student.train()
    batch = criterion.prepare(a_batch(few), student)
    loss = criterion(in_full(student, batch.images, criterion.layers), batch)
    loss.backward()
    reached = [parameter for parameter in student.parameters() if parameter.grad is not None]
    assert loss.isfinite()
    assert abs(loss.item()) > 1e-3
    assert sum(float(parameter.grad.abs().sum()) for parameter in reached) > 0
    if criterion.modules is not None:
        assert all(parameter.grad is not None for parameter in criterion.modules.parameters())


@pytest.mark.parametrize("name", [name for name in METHODS if name not in WITHOUT_TEACHER])
def test_without_a_teacher_the_error_says_where_to_name_one(name, few):
    with pytest.raises(BadSetting, match="needs a teacher"):
        METHODS[name](built("cnn", few), task_of(few))


@pytest.mark.parametrize("name", ["hints", "similarity", "relational", "contrastive"])
def test_a_layer_that_does_not_exist_is_refused_with_those_that_do(name, few, machine):
    knobs = {**vars(METHODS[name]), "student_layer": "nowhere"}
    with pytest.raises(BadSetting, match="there is no layer nowhere: choose from 0, 1"):
        type(METHODS[name])(**knobs)(built("cnn", few), task_of(few, teachers=teachers_for(name, few, machine)))


@pytest.mark.parametrize(
    ("kind", "knobs", "message"),
    [
        (Decoupled, (0, 1, 8), r"compress\.temperature=0"),
        (Hint, (0,), r"compress\.hint_epochs=0"),
        (Similarity, (-1,), r"compress\.gamma=-1"),
        (Contrastive, (0.8, 0.07, 0, 8), r"compress\.negatives=0"),
        (Mutual, (1, 1.0), r"compress\.networks=1 .*at least 2"),
        (Mixup, (2, 0.5, 0), r"compress\.mix=0"),
        (PGDTraining, (1.5, 0.1, 3), r"compress\.eps=1\.5"),
        (RobustDistillation, (2, 0.5, -0.1, 0.1, 3), r"compress\.eps=-0\.1"),
        (DataFree, (4.0, 1, 3, 64, 2, 8, 4, 1.0, 5.0, 1.0, 0.5), r"compress\.images=1"),
    ],
)
def test_knobs_out_of_range_are_named(kind, knobs, message):
    with pytest.raises(BadSetting, match=message):
        kind(*knobs)
