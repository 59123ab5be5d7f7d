"""Weights in fewer bits: what a file holds, what its layers get of it, and that the rest of the file is the same."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from tests.compress.tasks import used

from kdbench.artifact.export import export
from kdbench.artifact.file import Artifact
from kdbench.artifact.packing import kdz
from kdbench.artifact.session import session
from kdbench.compress.quantize.clusters import Clusters, clustered
from kdbench.compress.quantize.half import Half
from kdbench.compress.quantize.stored_weights import stored_weights
from kdbench.compress.quantize.weight_only import WeightOnly, quantized
from kdbench.errors import BadSetting, NotFinite
from kdbench.evaluation import size
from kdbench.evaluation.weights import layers
from kdbench.models.onnx_graph import INPUT as IMAGES

METHODS = [
    Half(),
    *(WeightOnly(bits, group) for bits in (8, 4, 3, 2) for group in (None, 4)),
    Clusters(16),
    Clusters(3),
]
each = pytest.mark.parametrize("method", METHODS, ids=str)


FILES = {}  # by family: an export takes a second


@pytest.fixture(params=["mlp", "cnn", "resnet"])
def file(request, few):
    if request.param not in FILES:
        FILES[request.param] = export(used(request.param, few), few.shape)
    return FILES[request.param]


def applied(file):
    """What each layer multiplies with, as ONNX itself computes it."""
    return [layer.weight for layer in layers(file)]


def weights_of(made, file):
    """The weights of `file` as `made` has them, in their own shapes, by ONNX's reference."""
    names = [weight.name for weight in stored_weights(file)]
    probe = type(made)()
    probe.CopyFrom(made)
    del probe.graph.output[:], probe.graph.node[:]
    probe.graph.node.extend(node for node in made.graph.node if IMAGES not in node.input)
    keep, known = [], {tensor.name for tensor in made.graph.initializer}
    for node in probe.graph.node:
        if all(name in known for name in node.input):
            keep.append(node)
            known.update(node.output)
    del probe.graph.node[:], probe.graph.input[:]
    probe.graph.node.extend(keep)
    probe.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    return ReferenceEvaluator(probe).run(None, {})


def with_zeros(file, sparsity=0.5):
    changed = type(file)()
    changed.CopyFrom(file)
    found = {weight.name: weight.values for weight in stored_weights(file)}
    for tensor in changed.graph.initializer:
        if tensor.name in found:
            values = found[tensor.name].copy()
            values[np.abs(values) < np.quantile(np.abs(values), sparsity)] = 0
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return changed


@each
def test_layers_get_what_is_stored_and_nothing_else_changes(method, file, few):
    made, images = method(file, None), few.val.images[:40].numpy().astype(np.float32) / 255
    before, after = applied(file), applied(made)
    assert [weight.shape for weight in before] == [weight.shape for weight in after]
    assert size.macs(made) == size.macs(file)
    # The float file with these weights gives the same logits.
    plain = type(file)()
    plain.CopyFrom(file)
    computed = dict(zip([weight.name for weight in stored_weights(file)], weights_of(made, file), strict=True))
    for tensor in plain.graph.initializer:
        if tensor.name in computed:
            tensor.CopyFrom(numpy_helper.from_array(computed[tensor.name], tensor.name))
    one, other = (session(Artifact(each).content, 1)(images) for each in (made, plain))
    assert np.allclose(one, other, rtol=1e-4, atol=1e-5)


@each
def test_it_packs_and_comes_back_byte_for_byte(method, file):
    content = Artifact(method(file, None)).content
    assert kdz.unpack(kdz.pack(content)) == content


@each
def test_zeros_are_kept_and_counted(method, file):
    pruned = with_zeros(file)
    made = method(pruned, None)
    for before, after in zip(applied(pruned), applied(made), strict=True):
        assert (after[before == 0] == 0).all()
    assert size.zero_weights(made) >= size.zero_weights(pruned) > 0
    if isinstance(method, Half | Clusters):
        assert size.zero_weights(made) == size.zero_weights(pruned)


@pytest.mark.parametrize(
    ("method", "kind", "bits"),
    [
        (Half(), TensorProto.FLOAT16, 16),
        (WeightOnly(8, None), TensorProto.INT8, 8),
        (WeightOnly(4, None), TensorProto.INT4, 4),
        (WeightOnly(3, None), TensorProto.INT4, 4),
        (WeightOnly(2, None), TensorProto.INT2, 2),
        (Clusters(256), TensorProto.UINT8, 8),
        (Clusters(16), TensorProto.UINT4, 4),
        (Clusters(4), TensorProto.UINT2, 2),
    ],
    ids=str,
)
def test_weights_take_the_bits_that_they_are_said_to(method, kind, bits, file):
    numbers = sum(weight.values.size for weight in stored_weights(file))
    held = [
        tensor for tensor in method(file, None).graph.initializer if tensor.data_type == kind and len(tensor.dims) > 1
    ]
    assert sum(map(size.tensor_bytes, held)) * 8 == pytest.approx(numbers * bits, abs=8 * len(held))


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_whole_numbers_are_symmetric_and_as_near_as_a_scale_allows(bits):
    groups = np.random.default_rng(0).normal(size=(5, 3, 40)).astype(np.float32)
    whole, scales = quantized(groups, bits)
    largest = 2 ** (bits - 1) - 1
    assert whole.min() >= -largest
    assert whole.max() <= largest
    errors = ((whole * scales[:, :, None].astype(np.float32) - groups) ** 2).sum(2)
    for share in (1.0, 0.8, 0.5):  # no worse than the plain rule, nor than others
        scale = (np.abs(groups).max(2) / largest * share).astype(np.float16).astype(np.float32)[:, :, None]
        assert (
            errors <= ((np.clip(np.rint(groups / scale), -largest, largest) * scale - groups) ** 2).sum(2) + 1e-4
        ).all()


def test_of_8_bits_and_all_in_range_the_difference_is_half_a_step():
    groups = np.random.default_rng(0).uniform(-1, 1, size=(5, 1, 400)).astype(np.float32)
    whole, scales = quantized(groups, 8)
    apart = np.abs(whole * scales[:, :, None].astype(np.float32) - groups)
    assert apart.max() <= 0.55 * float(scales.max())


def test_clusters_of_as_many_values_as_there_are_change_nothing():
    values = np.array([[-1.0, 0.5, 0.0], [2.0, 0.5, -1.0]], np.float32)
    codebook, which = clustered(values, 4)
    assert np.array_equal(codebook[which].astype(np.float32), values)


def test_no_centre_is_stored_that_no_weight_is_near():
    values = np.random.default_rng(0).normal(size=72).astype(np.float32)
    codebook, which = clustered(values, 256)
    assert len(codebook) == len(np.unique(which)) <= 72
    assert np.abs(codebook[which].astype(np.float32) - values).max() < 0.05


def test_clusters_are_means_of_what_is_nearest():
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    codebook, which = clustered(values, 8)
    for number in range(len(codebook)):
        assert float(codebook[number]) == pytest.approx(values[which == number].mean(), abs=2e-3)
    assert (np.abs(values[:, None] - codebook.astype(np.float32)).argmin(1) == which).mean() > 0.99


def test_knobs_and_weights_out_of_range_are_refused(file):
    for make, message in (
        (lambda: WeightOnly(5, None), r"compress\.bits=5 is not offered: choose from 8, 4, 3, 2"),
        (lambda: WeightOnly(4, 1), r"compress\.group=1"),
        (lambda: Clusters(1), r"compress\.clusters=1"),
        (lambda: Clusters(257), r"compress\.clusters=257"),
    ):
        with pytest.raises(BadSetting, match=message):
            make()
    huge = type(file)()
    huge.CopyFrom(file)
    name = stored_weights(file)[0].name
    for tensor in huge.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * 0 + 1e6, name))
    for method in (Half(), Clusters(16), WeightOnly(2, None)):
        with pytest.raises(NotFinite, match="has a weight of 1e"):
            method(huge, None)
    WeightOnly(8, None)(huge, None)  # by a scale of 7,874
