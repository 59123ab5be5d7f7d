"""Networks that no family of kdbench makes: the file computes what the network does, or one line says why not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.compress.awkward import Again, Attention, Functional, Mixed, OneDimensional, OneLayer, Separable, Tied
from tests.compress.tasks import fitting, task_of, unfused

from kdbench.artifact.export import export
from kdbench.artifact.file import Artifact
from kdbench.artifact.session import session
from kdbench.compress.layers import weight_names
from kdbench.compress.quantize.aware import QuantizeAware
from kdbench.compress.quantize.clusters import Clusters
from kdbench.compress.quantize.half import Half
from kdbench.compress.quantize.static_int8 import LAYER, OUTPUT, StaticInt8
from kdbench.compress.quantize.trained_weights import TrainedWeights
from kdbench.compress.quantize.weight_only import WeightOnly
from kdbench.errors import BadSetting
from kdbench.evaluation import size
from kdbench.evaluation.weights import float_layers
from kdbench.models.network import Network, Normalise, parameters
from kdbench.training.constraints import KeepZeros

AWARE = QuantizeAware(bits=8, images=64, learned=False, finetune_epochs=1, finetune_lr_scale=0.3)
WEIGHTS = TrainedWeights(bits=4, learned=False, finetune_epochs=1, finetune_lr_scale=0.3)
STATIC = StaticInt8(images=64, ranges="minmax", percentile=99.9, weight_bits=7, in_float=[], linear_scales=OUTPUT)
TRAINED = [
    AWARE,
    replace(WEIGHTS, bits=[8, 3, 4], learned=True, finetune_lr_scale=0.03),
]
STORED = [STATIC, replace(STATIC, linear_scales=LAYER), WeightOnly(8, None), Clusters(256), Half()]


MODELS = {
    "separable": Separable,
    "one dimension": OneDimensional,
    "mixed": Mixed,
    "tied": lambda: Tied(False),
    "tied, transposed": lambda: Tied(True),
    "again": Again,
    "one layer": OneLayer,
    "functions": Functional,
}
NOTHING_TO_ROUND = {"one dimension", "functions"}


def network_of(model, splits):
    """The network, which has seen some images."""
    torch.manual_seed(0)
    network = Network(Normalise([0.1], [0.3]), model()).train()
    with torch.no_grad():
        network(splits.train.images[:64].float() / 255)
    return network.eval()


def logits(content, images):
    return session(content, 1)(images.numpy())


def images_of(splits):
    return splits.test.images[:200].float() / 255


@pytest.mark.parametrize("method", TRAINED, ids=["both", "weights, learned"])
@pytest.mark.parametrize("name", MODELS)
def test_the_file_of_a_network_that_was_trained_on_grids_computes_the_same(name, method, few, recipe, machine):
    network, images = network_of(MODELS[name], few), images_of(few)
    task = task_of(few, fitting(few, recipe, machine))
    if name in NOTHING_TO_ROUND:
        with pytest.raises(BadSetting, match=f"compress={method.name} rounds weights of nn.Conv2d and nn.Linear"):
            method.check(network, (), task.data)
        return
    made = method(network, task).eval()
    file = export(made, few.shape)
    found, expected = unfused(Artifact(file).content, images), made(images).detach().numpy()
    most = 0.03 if isinstance(method, QuantizeAware) else 1e-5
    assert np.abs(found - expected).max() < most * np.ptp(expected)
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.97
    assert float_layers(file) == (["rows"] if name == "mixed" else [])


@pytest.mark.parametrize("method", STORED, ids=["static", "static, one scale", "weights", "cluster", "half"])
@pytest.mark.parametrize("name", MODELS)
def test_what_is_stored_otherwise_computes_nearly_the_same_with_and_without_fusions(name, method, few):
    file, images = export(network_of(MODELS[name], few), few.shape), images_of(few)
    made = method(file, task_of(few)).SerializeToString()
    before, after = logits(file.SerializeToString(), images), logits(made, images)
    assert np.abs(before - after).max() < (0.15 if isinstance(method, StaticInt8) else 0.03) * np.ptp(before)
    plain = unfused(made, images)
    assert np.abs(plain - after).max() < 0.03 * np.ptp(before)


def test_layers_that_nothing_calls_stay_and_zeros_in_them_are_found(few):
    network = network_of(Again, few)
    zeros = KeepZeros({name: torch.ones_like(network.get_parameter(name)) for name in weight_names(network)})
    for method in TRAINED:
        made = method.on_grids(network)
        assert {*weight_names(made)} == {*weight_names(network)}
        zeros.apply(made, 0, 0)


def test_layers_within_one_of_torch_stay_float_and_the_row_says_so(few):
    whole = replace(WEIGHTS, finetune_epochs=0)
    with pytest.raises(BadSetting, match="Attention calls none of these"):
        whole.check(network_of(lambda: Attention(False), few), (), task_of(few).data)
    made = whole(network_of(lambda: Attention(True), few), task_of(few)).eval()
    file, images = export(made, few.shape), images_of(few)
    expected = made(images).detach().numpy()
    assert np.abs(logits(file.SerializeToString(), images) - expected).max() < 1e-4 * np.ptp(expected)
    assert "last" not in float_layers(file)
    assert len(float_layers(file)) >= 4


def test_zeros_of_a_parameter_are_counted_once_however_often_it_is_used(few):
    network = network_of(lambda: Tied(True), few)
    with torch.no_grad():
        network.model.one.weight[:5] = 0
    file = export(network, few.shape)
    assert size.zero_weights(file) == 100
    assert size.weight_bytes(file) < 4 * (parameters(network) + 100)
