"""Training with rounded weights alone: what moves, and that the file holds the very integers of the network."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from onnx import TensorProto, numpy_helper
from tests.compress.tasks import fitting, task_of, used
from torch import nn

from kdbench.artifact.export import export
from kdbench.artifact.file import Artifact
from kdbench.artifact.packing import kdz
from kdbench.artifact.session import session
from kdbench.compress.quantize.fake_quantize import Convolution, Linear
from kdbench.compress.quantize.rounding import rounded_to
from kdbench.compress.quantize.trained_weights import TrainedWeights
from kdbench.compress.quantize.weight_only import TYPES, WeightOnly
from kdbench.errors import BadSetting
from kdbench.evaluation import size
from kdbench.models.network import Network, Normalise

FOUR = TrainedWeights(bits=4, learned=False, finetune_epochs=1, finetune_lr_scale=0.3)
UNTRAINED = replace(FOUR, finetune_epochs=0)
FAMILIES = ["mlp", "cnn", "resnet"]


def on_grids(network):
    """The layers whose weights lie on grids."""
    return [module for module in network.modules() if isinstance(module, Convolution | Linear)]


def weights_in(file):
    """The whole numbers, and their scales, of each weight that a file stores."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in file.graph.initializer}
    names = [name.removesuffix("_integers") for name in stored if name.endswith("_integers")]
    return {name: (stored[f"{name}_integers"].astype(np.float32), stored[f"{name}_scale"]) for name in names}


def require_the_same(network, file, shape):
    """That a file holds what the layers multiply with, exactly, and gives the logits of the network."""
    applied = {
        f"{n}.weight": m.on_grid(m.weight).detach() for n, m in network.named_modules() if m in on_grids(network)
    }
    found = weights_in(file)
    assert applied.keys() == found.keys()
    for name, (whole, scale) in found.items():
        assert scale.dtype == np.float16
        assert np.array_equal(whole * scale.astype(np.float32), applied[name].numpy())
    images = torch.rand(40, *shape, generator=torch.Generator().manual_seed(0))
    logits = network(images).detach().numpy()
    ran = session(Artifact(file).content, 1)(images.numpy())
    assert np.abs(ran - logits).max() < 1e-5 * max(1, np.ptp(logits))


@pytest.mark.parametrize(
    ("family", "bits", "learned"),
    [
        *(("cnn", bits, learned) for bits in (8, 4, 3, 2) for learned in (False, True)),
        *(("mlp", 4, False), ("mlp", 2, True), ("resnet", 3, False)),
    ],
)
def test_the_file_holds_the_integers_of_the_trained_network(few, family, bits, learned, recipe, machine):
    method = replace(FOUR, bits=bits, learned=learned)
    network = used(family, few)
    made = method(network, task_of(few, fitting(few, recipe, machine))).eval()
    file, plain = export(made, few.shape), export(network, few.shape)
    require_the_same(made, file, few.shape)
    layers = on_grids(made)
    for layer, (whole, _) in zip(layers, weights_in(file).values(), strict=True):
        assert np.abs(whole).max() <= 2 ** (bits - 1) - 1
        assert layer.weight.shape == whole.shape
    kinds = {tensor.data_type for tensor in file.graph.initializer if tensor.name.endswith("_integers")}
    assert kinds == {TYPES[bits]} or learned  # a learned scale may leave the ends to no weight
    # What is counted in the file.
    assert size.macs(file) == size.macs(plain)
    zeros = sum(int((layer.on_grid(layer.weight) == 0).sum()) for layer in layers)
    assert size.zero_weights(file) == zeros
    if not learned:
        held = {TensorProto.INT8: 8, TensorProto.INT4: 4, TensorProto.INT2: 2}[TYPES[bits]]
        less = sum(4 * w.numel() - -(-w.numel() * held // 8) - 2 * len(w) for w in (layer.weight for layer in layers))
        assert size.weight_bytes(file) == size.weight_bytes(plain) - less
    content = Artifact(file).content
    assert kdz.unpack(kdz.pack(content)) == content


@pytest.mark.parametrize("family", FAMILIES)
def test_the_file_is_laid_out_as_that_of_weights_that_nobody_trained(few, family):
    network = used(family, few)
    trained = export(UNTRAINED(network, task_of(few)).eval(), few.shape)
    plain = WeightOnly(4, None)(export(network, few.shape), None)
    for of in (
        lambda file: Counter(node.op_type for node in file.graph.node),
        lambda file: Counter((tensor.data_type, tuple(tensor.dims)) for tensor in file.graph.initializer),
        lambda file: file.opset_import[0].version,
    ):
        assert of(trained) == of(plain)


def test_weights_beyond_the_ends_of_a_learned_grid_are_cut_off_in_the_file_too(few):
    network = replace(UNTRAINED, bits=2, learned=True)(used("mlp", few), task_of(few)).eval()
    with torch.no_grad():
        for layer in on_grids(network):
            layer.weight[:, 0] *= 100
    file = export(network, few.shape)
    assert all(np.abs(whole).max() == 1 for whole, _ in weights_in(file).values())
    require_the_same(network, file, few.shape)


def test_a_linear_layer_on_several_axes_has_the_same_weights_in_the_file(few):
    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.rows, self.head = nn.Linear(28, 5), nn.Linear(140, 10)

        def forward(self, images):
            return self.head(self.rows(images.flatten(1, 2)).relu().flatten(1))

    network = UNTRAINED(Network(Normalise((0.1,), (0.3,)), Rows()), task_of(few)).eval()
    file = export(network, few.shape)
    require_the_same(network, file, few.shape)
    assert size.macs(file) == 28 * 28 * 5 + 1400


def test_eight_bits_change_little_before_any_training(digits):
    for family in FAMILIES:
        network = used(family, digits)
        made = replace(UNTRAINED, bits=8)(network, task_of(digits))
        images = digits.test.images[:64].float() / 255
        assert (made(images) - network(images)).abs().max() < 0.03 * np.ptp(network(images).detach().numpy())


def test_the_stored_network_is_rebuilt_from_the_one_before(few):
    made = UNTRAINED(used("resnet", few), task_of(few))
    again = FOUR.architecture(used("resnet", few, seed=3), {})
    again.load_state_dict(made.state_dict())
    images = few.test.images[:8].float() / 255
    assert torch.equal(again(images), made(images))


def test_scales_are_rounded_as_numpy_rounds_them_and_have_gradients():
    scale = torch.rand(1000, generator=torch.Generator().manual_seed(0)).mul(0.01).add(1e-4).requires_grad_()
    made = rounded_to(torch.float16, scale)
    assert np.array_equal(made.detach().numpy(), scale.detach().numpy().astype(np.float16).astype(np.float32))
    made.sum().backward()
    assert (scale.grad == 1).all()


@pytest.mark.parametrize("knob", [{"bits": 5}, {"learned": "yes"}, {"finetune_epochs": -1}, {"finetune_lr_scale": 0}])
def test_knobs_are_checked(knob):
    with pytest.raises(BadSetting, match=f"compress\\.{next(iter(knob))}"):
        replace(FOUR, **knob)
