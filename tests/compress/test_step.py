import pytest
import torch
from tests.compress.tasks import task_of
from tests.training.methods import mlp_of, same
from torch import nn

from kdbench.compress.distill.attention import Attention
from kdbench.compress.distill.smooth_labels import SmoothLabels
from kdbench.compress.distill.soft_targets import Distill
from kdbench.compress.low_rank.factorize import Factorize
from kdbench.compress.order import require_sensible_order
from kdbench.compress.prune.global_magnitude import GlobalMagnitude
from kdbench.compress.quantize.dynamic_int8 import DynamicInt8
from kdbench.compress.step import FileStep, NetworkStep
from kdbench.errors import BadSetting
from kdbench.training.teacher import Teacher

PRUNE = GlobalMagnitude(sparsity=0.5, finetune_epochs=0, finetune_lr_scale=1, statistics=0)
DISTILL, FACTORIZE, INT8 = Distill(2, 0.1), Factorize(0.5, 0, 1), DynamicInt8()


class Packed(FileStep):
    """Another step that changes files."""

    def __call__(self, file, task):
        return file


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [INT8],
        [PRUNE, DISTILL, INT8],
        [DISTILL, PRUNE, INT8],
        [PRUNE, DISTILL, DISTILL],
        [PRUNE, PRUNE],  # little by little
        [FACTORIZE, PRUNE, INT8],
        [SmoothLabels(0.1), FACTORIZE],
        [Attention(1.0), PRUNE],
        [INT8, Packed()],
    ],
)
def test_sensible_orders_are_accepted(steps):
    assert require_sensible_order("mine", steps) is None  # it raises nothing


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        (
            [INT8, PRUNE],
            "GlobalMagnitude changes a network, but DynamicInt8 before it has made a file of it: put Glo",
        ),
        ([PRUNE, INT8, DISTILL], "Distill changes a network, but DynamicInt8 before it .* put Distill first"),
        ([PRUNE, Packed(), INT8, DISTILL], "Distill changes a network, but Packed before it"),
        ([INT8, INT8], "DynamicInt8 finds nothing left to do after DynamicInt8: leave one out"),
        ([INT8, Packed(), INT8], "DynamicInt8 finds nothing left to do"),
        ([PRUNE, FACTORIZE], "what GlobalMagnitude did is lost: put Factorize before GlobalMagnitude"),
        ([PRUNE, DISTILL, FACTORIZE, INT8], "put Factorize before GlobalMagnitude"),
        ([DISTILL, nn.Linear(1, 1)], "Linear is neither a NetworkStep nor a FileStep"),
    ],
)
def test_senseless_orders_are_refused_with_the_reason_in_one_line(steps, reason):
    with pytest.raises(BadSetting, match=f"^compress=mine: .*{reason}") as error:
        require_sensible_order("mine", steps)
    assert "\n" not in str(error.value)


def test_a_method_is_told_of_the_data_what_it_may_know(colours):
    data = task_of(colours).data
    assert (data.shape, data.classes, list(data.class_names)) == ((3, 32, 32), 7, list("abcdefg"))
    assert not hasattr(data, "test")
    images = data.to_calibrate(5)
    assert torch.equal(images, colours.train.images[:5].float() / 255)
    assert len(data.to_calibrate(10_000)) == len(colours.train)


def test_the_initial_network_is_a_copy_each_time(few):
    network = mlp_of()
    task = task_of(few, initial=network)
    with torch.no_grad():
        task.initial[1].weight.zero_()
    assert same(task.initial, network)
    assert same(network, mlp_of())


def test_the_teacher_is_one(few, machine):
    first, second = (Teacher(mlp_of(seed=seed), machine) for seed in range(2))
    assert task_of(few, teachers=[first]).teacher is first
    with pytest.raises(BadSetting, match="teacher: auto"):
        _ = task_of(few).teacher
    with pytest.raises(BadSetting, match=r"several teachers, but its method from one: type compress\.teacher=NAME"):
        _ = task_of(few, teachers=[first, second]).teacher


def test_a_step_leaves_shapes_as_they_are_and_no_constraint_unless_it_says_so():
    class Nothing(NetworkStep):
        def __call__(self, model, task):
            return model

    network = mlp_of()
    made = Nothing().architecture(network, {})
    assert made is not network
    assert same(made, network)
    assert Nothing().constraint(network) is None
    assert (Nothing.from_scratch, Nothing.changes_shapes, Nothing.leaves_constraint) == (False, False, False)
