"""Training on grids: where they stand, what is trained through them, and that the file holds the same numbers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from onnx import TensorProto, numpy_helper
from tests.compress.tasks import fitting, task_of, unfused, used
from torch import nn

from kdbench.artifact.export import export
from kdbench.artifact.file import Artifact
from kdbench.artifact.session import session
from kdbench.compress.layers import weight_names
from kdbench.compress.prune import masks
from kdbench.compress.quantize.aware import QuantizeAware, settle
from kdbench.compress.quantize.fake_quantize import Activations, Linear, Weights
from kdbench.compress.quantize.rounding import LearnedRounded, Rounded, rounded_to
from kdbench.errors import BadSetting
from kdbench.evaluation import size
from kdbench.evaluation.weights import layers
from kdbench.models.network import Network, Normalise
from kdbench.training.constraints import KeepZeros
from kdbench.training.fit import fit
from kdbench.training.learner import Learner

ALL = QuantizeAware(bits=8, images=64, learned=False, finetune_epochs=1, finetune_lr_scale=0.3)
FAMILIES = ["mlp", "cnn", "resnet"]
TYPES = {8: TensorProto.INT8, 4: TensorProto.INT4, 3: TensorProto.INT4, 2: TensorProto.INT2}


def test_rounding_is_to_the_nearest_step_and_gradients_end_where_the_grid_does():
    values = torch.tensor([-3.0, -0.9, 0.2, 0.3, 2.6, 9.0], requires_grad=True)
    made = Rounded.apply(values, torch.tensor(0.5), -2.0, 5.0)
    assert made.tolist() == [-1.0, -1.0, 0.0, 0.5, 2.5, 2.5]
    made.sum().backward()
    assert values.grad.tolist() == [0, 1, 1, 1, 1, 0]


def test_the_gradient_to_a_scale_is_that_of_the_paper():
    """Esser et al. 2020, equation 3: the end beyond the ends, and the rounding error in between."""
    values, scale = torch.tensor([-3.0, 0.2, 0.35, 9.0]), torch.tensor(0.5, requires_grad=True)
    LearnedRounded.apply(values, scale, -2.0, 5.0, 0.1).sum().backward()
    exact = [-2.0, 0 - 0.4, 1 - 0.7, 5.0]
    assert float(scale.grad) == pytest.approx(0.1 * sum(exact), rel=1e-5)


def test_scales_of_outputs_have_gradients_of_their_own():
    weight = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    learned = Weights(weight, 4, learned=True, scales=torch.bfloat16)
    learned(weight).square().sum().backward()
    assert learned.scale.grad.shape == (3,)
    assert (learned.scale.grad != 0).all()


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weights_lie_on_as_many_steps_as_the_bits_have_and_the_greatest_is_kept(bits):
    weight = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    made = Weights(weight, bits, learned=False, scales=torch.bfloat16)(weight)
    assert max(len(row.unique()) for row in made) <= 2**bits - 1
    assert torch.allclose(made.abs().amax(1), weight.abs().amax(1), rtol=2**-8)


@pytest.mark.parametrize("scales", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("bits", [2, 3, 7, 8])
def test_nothing_is_cut_off_where_the_scale_is_that_of_the_greatest_weight(bits, scales):
    """So the ends need not be looked at, and every weight has the gradient."""
    largest = 2 ** (bits - 1) - 1
    weight = torch.randn(2000, 9, generator=torch.Generator().manual_seed(0)).mul(0.1).requires_grad_()
    grid = Weights(weight, bits, learned=False, scales=scales)
    made = grid(weight)
    scale = rounded_to(scales, grid.scale)[:, None]
    cut_off = weight.detach().mul(1 / scale).round().clamp(-largest, largest).mul(scale)
    assert torch.equal(made, cut_off)
    made.sum().backward()
    assert (weight.grad == 1).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_eight_bits_change_little_before_any_training(digits, family):
    network = used(family, digits)
    made = replace(ALL, finetune_epochs=0)(network, task_of(digits))
    images = digits.test.images[:64].float() / 255
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in made.modules())
    assert (made(images) - network(images)).abs().max() < 0.06 * np.ptp(network(images).detach().numpy())


# All bits once, and each family with the most and with few.
@pytest.mark.parametrize(
    ("family", "bits"),
    [*(("mlp", bits) for bits in (8, 4, 3, 2)), ("cnn", 8), ("cnn", 2), ("resnet", 8), ("resnet", 3)],
)
def test_the_file_holds_the_same_numbers(few, family, bits, recipe, machine):
    method = replace(ALL, bits=bits)
    made = method(used(family, few), task_of(few, fitting(few, recipe, machine)))
    file = Artifact(export(made.eval(), few.shape))
    kinds = {tensor.name: tensor.data_type for tensor in file.file.graph.initializer}
    found = layers(file.file)
    assert {kinds[layer.source] for layer in found} == {TYPES[bits]}
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in file.file.graph.initializer}
    for layer in found:
        assert np.abs(stored[layer.source].astype(int)).max() <= 2 ** (bits - 1) - 1
    images = few.test.images[:64].float() / 255
    logits = made(images).detach().numpy()
    ran = unfused(file.content, images)
    assert np.abs(ran - logits).max() < 0.03 * np.ptp(logits)  # half steps, and a mean that is no whole pixel
    assert (ran.argmax(1) == logits.argmax(1)).mean() > 0.9
    plain = export(used(family, few), few.shape)
    assert size.macs(file.file) == size.macs(plain)


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_weights_beyond_the_ends_of_a_learned_grid_are_cut_off_in_the_file_too(few, bits):
    network = replace(ALL, bits=bits, learned=True, finetune_epochs=0)(used("mlp", few), task_of(few)).eval()
    layers_on_grids = [module for module in network.modules() if isinstance(module, Linear)]
    with torch.no_grad():
        for layer in layers_on_grids:
            layer.weight[:, 0] *= 300
    stored = {
        t.name: numpy_helper.to_array(t).astype(np.float32) for t in export(network, few.shape).graph.initializer
    }
    for number, layer in zip((1, 3), layers_on_grids, strict=True):
        scale = stored[f"1.{number}.weight_integers_scale"][:, None]
        applied = layer.on_grid(layer.weight).detach().numpy()
        assert np.allclose(stored[f"1.{number}.weight_integers"] * scale, applied, rtol=1e-6, atol=0)


def test_only_q_and_dq_and_layers_are_left(few):
    """As ONNX Runtime joins them: a layer between DQ and Q, pooling and padding between whole numbers."""
    for family in FAMILIES:
        made = replace(ALL, finetune_epochs=0)(used(family, few), task_of(few))
        graph = export(made, few.shape).graph
        makers = {name: node for node in graph.node for name in node.output}
        for node in graph.node:
            if node.op_type in ("Conv", "Gemm", "Add", "MaxPool", "AveragePool"):
                for given in node.input:
                    assert makers[given].op_type == "DequantizeLinear", (family, node.op_type)
            if node.op_type == "Pad":
                assert makers[node.input[0]].op_type == "QuantizeLinear"
        assert not {"Sub", "Div", "BatchNormalization"} & {node.op_type for node in graph.node}


def test_the_stored_network_is_rebuilt_from_the_one_before(few):
    network = used("resnet", few)
    made = replace(ALL, finetune_epochs=0)(network, task_of(few))
    shapes = {name: value.shape for name, value in made.state_dict().items()}
    again = ALL.architecture(used("resnet", few, seed=3), shapes)
    again.load_state_dict(made.state_dict())
    images = few.test.images[:8].float() / 255
    assert torch.equal(again(images), made(images))


@pytest.mark.parametrize("family", FAMILIES)
def test_pruned_weights_keep_their_places_and_stay_zero_in_the_file(few, family, recipe, machine):
    """What earlier steps left behind finds the weights by name, in the network on grids too."""
    network = used(family, few)
    names = weight_names(network)
    zeros = KeepZeros(masks.over_the_network({name: network.get_parameter(name).abs() for name in names}, 0.9))
    zeros.apply(network, 0, 0)
    made = ALL.on_grids(network)
    assert weight_names(made) == names
    settle(made, few.train.images[:64].float() / 255)
    fit(Learner(made, 0, constraints=[zeros]), few.train, few.val, recipe, machine)
    for name, mask in zeros.masks.items():
        assert not (made.get_parameter(name)[mask == 0] != 0).any()
    assert size.zero_weights(export(made.eval(), few.shape)) >= sum(int((m == 0).sum()) for m in zeros.masks.values())


def test_bits_can_be_those_of_the_first_layer_of_those_between_and_of_the_last(few):
    made = replace(ALL, bits=[8, 2, 4], finetune_epochs=0)(used("cnn", few), task_of(few))
    file = export(made.eval(), few.shape)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in file.graph.initializer}
    most = [int(np.abs(stored[layer.source].astype(int)).max()) for layer in layers(file)]
    assert (most[0], {*most[1:-1]}, most[-1]) == (127, {1}, 7)


def test_of_a_scale_two_bytes_are_nothing(few):
    """It and the whole numbers are those that the network computes with; that of a bias is multiplied at loading."""
    made = replace(ALL, finetune_epochs=0)(used("mlp", few), task_of(few))
    file = export(made.eval(), few.shape)
    scales = [t for t in file.graph.initializer if t.name.endswith("weight_integers_scale")]
    assert len(scales) == 2
    for tensor in scales:
        assert not (numpy_helper.to_array(tensor).view(np.uint32) & 0xFFFF).any()
    assert not [t.name for t in file.graph.initializer if t.name.endswith("bias_scale")]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_bias_of_an_output_without_weights_is_in_the_file_too(few, family):
    network = used(family, few)
    with torch.no_grad():
        last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
        last.weight[3], last.bias[3] = 0, 5
    made = replace(ALL, finetune_epochs=0)(network, task_of(few)).eval()
    images = few.test.images[:20].float() / 255
    ran = session(Artifact(export(made, few.shape)).content, 1)(images.numpy())
    assert np.allclose(made(images).detach().numpy()[:, 3], 5)
    assert np.allclose(ran[:, 3], 5)


def test_zero_is_a_step_of_every_grid():
    grid = Activations(learned=False)
    grid.watches = True
    grid(torch.tensor([0.3, 0.9]))
    grid(torch.tensor([-0.1, 0.5]))
    grid.settle()
    assert float(grid(torch.zeros(1))) == 0
    assert grid(torch.tensor([0.9, 5.0])).tolist() == pytest.approx([0.9, 0.9], abs=0.003)


def test_a_forward_that_depends_on_its_numbers_is_one_line(few):
    class Wayward(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(784, 10)

        def forward(self, images):
            return self.layer(images.flatten(1)) if images.sum() > 0 else self.layer(-images.flatten(1))

    network = Network(Normalise((0.1,), (0.3,)), Wayward())
    with pytest.raises(BadSetting, match=r"compress=quantize_aware cannot follow what Wayward\.forward does"):
        ALL.check(network, (), task_of(few).data)


@pytest.mark.parametrize(
    "knob",
    [{"bits": 9}, {"bits": [8, 4]}, {"bits": [8, 4, 1]}, {"images": 0}, {"learned": "yes"}, {"finetune_lr_scale": 0}],
    ids=str,
)
def test_knobs_are_checked(knob):
    with pytest.raises(BadSetting, match=f"compress\\.{next(iter(knob))}"):
        replace(ALL, **knob)


def test_settling_looks_at_all_images(few):
    network = ALL.on_grids(used("mlp", few))
    settle(network, torch.cat([torch.zeros(300, *few.shape), torch.ones(1, *few.shape)]))
    first = next(module for module in network.modules() if isinstance(module, Activations))
    assert float(first.high) > 0


def test_the_gradient_to_the_scale_of_activations_does_not_depend_on_how_many_images_there_are():
    """Esser et al. 2020, section 2.2: the features of an image count, and the loss is a mean over images."""
    image, found = torch.rand(1, 8, 5, 5, generator=torch.Generator().manual_seed(0)), []
    for count in (1, 64):
        grid = Activations(learned=True)
        grid.scale.data.fill_(0.1)
        grid(image.expand(count, -1, -1, -1)).square().mean(0).sum().backward()
        found.append(float(grid.scale.grad))
    assert found[0] == pytest.approx(found[1], rel=1e-4) != 0


@pytest.mark.parametrize("family", FAMILIES)
def test_the_grid_of_the_pixels_is_never_learned_and_other_scales_count_where_they_are(family, digits):
    start = used(family, digits)
    fixed, learned = (replace(ALL, learned=one).on_grids(start) for one in (False, True))
    folded = sum(p.numel() for p in fixed.parameters())
    assert folded <= sum(p.numel() for p in start.parameters())  # batch norm is gone, and no scale is a parameter
    scales = [name for name, _ in learned.named_parameters() if name.endswith("scale")]
    assert len(scales) == sum(isinstance(m, Activations | Weights) for m in learned.modules()) - 1


@pytest.mark.parametrize("bits", [8.0, 9, True, "abc", [8, 4]])
def test_bits_that_are_none_are_refused(bits):
    with pytest.raises(BadSetting, match=r"compress\.bits"):
        replace(ALL, bits=bits)


@pytest.mark.parametrize("scale", [0.0, -0.01])
def test_a_learned_scale_that_training_took_below_zero_is_one_again(scale):
    grids = [Activations(learned=True), Weights(torch.randn(3, 4), 4, learned=True, scales=torch.bfloat16)]
    for one in grids:
        one.scale.data.fill_(scale)
        values = torch.tensor([[0.0, 1.0, 2.0, 3.0]] * 3)
        assert one(values).isfinite().all()
        assert (one.scale > 0).all()
