import pytest
import torch
from tests.compress.tasks import task_of
from tests.training.methods import mlp_of, same
from torch import nn

from kdbench.compress.distill.attention import Attention
from kdbench.compress.distill.smooth_labels import SmoothLabels
from kdbench.compress.distill.soft_targets import Distill
from kdbench.compress.low_rank.factorize import Factorize
from kdbench.compress.order import leaves_constraint, require_sensible_order
from kdbench.compress.prune.channels import Channels
from kdbench.compress.prune.global_magnitude import GlobalMagnitude
from kdbench.compress.prune.lottery import Lottery
from kdbench.compress.quantize.aware import QuantizeAware
from kdbench.compress.quantize.dynamic_int8 import DynamicInt8
from kdbench.compress.quantize.half import Half
from kdbench.compress.reshaped import gives_other_layers
from kdbench.compress.shrink import Shrink
from kdbench.compress.step import FileStep, NetworkStep
from kdbench.errors import BadSetting
from kdbench.training.teacher import Teacher

PRUNE = GlobalMagnitude(sparsity=0.5, finetune_epochs=0, finetune_lr_scale=1, statistics=0)
DISTILL, FACTORIZE, INT8 = (
    Distill(2, 0.1),
    Factorize(keep=0.5, finetune_epochs=0, finetune_lr_scale=1, statistics=0),
    DynamicInt8(),
)

CHANNELS = Channels(macs=0.5, multiple=1, finetune_epochs=0, finetune_lr_scale=1, statistics=0)
LOTTERY = Lottery(sparsity=0.5, rate=0.5, across="network", rewind="initial")
AWARE = QuantizeAware(bits=7, images=1, learned=False, finetune_epochs=0, finetune_lr_scale=1)


class Packed(FileStep):
    """A step that changes files, and no weights."""

    stores_weights = False

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
        [CHANNELS, PRUNE, AWARE, DISTILL],
        [LOTTERY, PRUNE, INT8],
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
        ([INT8, INT8], "DynamicInt8 takes weights in float32, and DynamicInt8 before it stores them in another form"),
        ([INT8, Packed(), INT8], "DynamicInt8 takes weights in float32"),
        ([PRUNE, FACTORIZE], "what GlobalMagnitude did is lost: put Factorize before GlobalMagnitude"),
        ([PRUNE, DISTILL, FACTORIZE, INT8], "put Factorize before GlobalMagnitude"),
        ([Half(), DynamicInt8()], "DynamicInt8 takes weights in float32, and Half before it stores them in another"),
        ([AWARE, INT8], "DynamicInt8 takes weights in float32, and QuantizeAware before it"),
        ([AWARE, DISTILL, Half()], "Half takes weights in float32, and QuantizeAware before it"),
        ([AWARE, AWARE], "QuantizeAware takes weights in float32, and QuantizeAware before it"),
        ([AWARE, CHANNELS], "put Channels before QuantizeAware, or leave one out"),
        ([CHANNELS, LOTTERY], "Lottery goes back to the network as it was initialised, in which what Channels did"),
        ([FACTORIZE, DISTILL, Shrink(0.5, None)], "put Shrink before Factorize"),
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
    assert (Nothing.from_scratch, gives_other_layers(Nothing()), leaves_constraint(Nothing())) == (
        False,
        False,
        False,
    )
