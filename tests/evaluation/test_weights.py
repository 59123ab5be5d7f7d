"""Zeros, multiply-adds and bytes are those of the network, in whatever form a file stores its weights."""

import math

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from tests.models.test_models import built
from torch import nn

from kdbench.artifact.export import export
from kdbench.compress.quantize.dynamic_int8 import DynamicInt8
from kdbench.errors import CannotCount, DamagedFile
from kdbench.evaluation import size
from kdbench.evaluation.weights import layers
from kdbench.models.onnx_graph import load

QINT8, QUINT8 = QuantType.QInt8, QuantType.QUInt8


class Images(CalibrationDataReader):
    def __init__(self):
        images = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0)).numpy()
        self.batches = iter([{"images": images}])

    def get_next(self):
        return next(self.batches, None)


def static(file, folder, form, weight_type=QINT8, **options):
    onnx.save(file, folder / "float.onnx")
    quantize_static(
        folder / "float.onnx",
        folder / "static.onnx",
        Images(),
        quant_format=form,
        weight_type=weight_type,
        activation_type=QUINT8,
        **options,
    )
    return onnx.load(folder / "static.onnx")


def weight_only(file, kind, block):
    """Return the file with its weights in 4 bits: one scale an output (`block` 0), or one for every `block` inputs.

    Zero points differ from block to block, which makes a count that ignores them, or their axis, come out wrong.
    """
    low = {TensorProto.INT4: -8, TensorProto.UINT4: 0}[kind]
    made = onnx.ModelProto()
    made.CopyFrom(file)
    made.opset_import[0].version = 21
    for layer in layers(file):
        [at] = [i for i, tensor in enumerate(made.graph.initializer) if tensor.name == layer.source]
        weight, name = numpy_helper.to_array(made.graph.initializer[at]), layer.source
        blocks = [*weight.shape]
        blocks[1] = math.ceil(weight.shape[1] / block) if block else 1
        zero = np.random.default_rng(0).integers(low + 2, low + 14, blocks if block else blocks[:1])
        wide = zero.reshape(-1, *[1] * (weight.ndim - 1))
        if block:
            wide = np.repeat(zero, block, 1)[:, : weight.shape[1]]
        numbers = np.clip(np.sign(weight) + wide, low, low + 15)
        del made.graph.initializer[at]
        for suffix, values in (("q", numbers), ("zero", zero)):
            made.graph.initializer.append(
                helper.make_tensor(f"{name}.{suffix}", kind, values.shape, values.flatten())
            )
        made.graph.initializer.append(numpy_helper.from_array(np.full(zero.shape, 0.1, np.float32), f"{name}.scale"))
        inputs = [f"{name}.q", f"{name}.scale", f"{name}.zero"]
        attributes = {"axis": 1, "block_size": block} if block else {"axis": 0}
        made.graph.node.insert(0, helper.make_node("DequantizeLinear", inputs, [name], **attributes))
    onnx.checker.check_model(made, full_check=True)
    return made


class Tiny(nn.Sequential):
    """A plain, a depthwise and a grouped convolution, and linear layers; half its weights 0, the others not near 0.

    The signs of the weights change from output to output, so that their zero points do too.
    """

    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(4, 4, 3, stride=2, groups=4),
            nn.ReLU(),
            nn.Conv2d(4, 6, 3, stride=2, groups=2, bias=False),
            nn.Flatten(),
            nn.Linear(6 * 36, 7),
            nn.ReLU(),
            nn.Linear(7, 10, bias=False),
        )
        random = torch.Generator().manual_seed(0)
        for weight in self.weights():
            signs = torch.arange(len(weight)).view(-1, *[1] * (weight.ndim - 1)) % 3 - 1
            values = torch.rand(weight.shape, generator=random) + 0.5
            kept = torch.rand(weight.shape, generator=random) < 0.5
            weight.data = values * kept * torch.where(signs == 0, torch.sign(values - 1), signs)

    def weights(self):
        return [module.weight for module in self if hasattr(module, "weight")]


ZEROS = sum(int((weight == 0).sum()) for weight in Tiny().weights())
MACS = 4 * 9 * 28 * 28 + 4 * 9 * 13 * 13 + 6 * 2 * 9 * 6 * 6 + 6 * 36 * 7 + 7 * 10
FORMS = {
    "float": lambda file, _: file,
    "dynamic int8": lambda file, _: DynamicInt8()(file, None),
    "int4": lambda file, _: weight_only(file, TensorProto.INT4, 0),
    "int4 in blocks": lambda file, _: weight_only(file, TensorProto.INT4, 2),
    "uint4": lambda file, _: weight_only(file, TensorProto.UINT4, 0),
    "uint4 in blocks that do not divide": lambda file, _: weight_only(file, TensorProto.UINT4, 5),
    "quantized in the file": lambda file, folder: static(
        file, folder, QuantFormat.QDQ, per_channel=True, extra_options={"AddQDQPairToWeight": True}
    ),
    "ONNX Runtime's DequantizeLinear": lambda file, folder: static(file, folder, QuantFormat.QDQ, QuantType.QInt4),
} | {
    f"{form.name} {kind.name} {'per channel' if per_channel else 'per tensor'}": (
        lambda file, folder, form=form, kind=kind, per_channel=per_channel: static(
            file, folder, form, kind, per_channel=per_channel
        )
    )
    for form in (QuantFormat.QDQ, QuantFormat.QOperator)
    for kind in (QINT8, QUINT8)
    for per_channel in (False, True)
}


@pytest.fixture(scope="module")
def plain():
    return export(Tiny().eval(), (1, 28, 28))


@pytest.fixture(scope="module", params=FORMS)
def stored(request, plain, tmp_path_factory):
    return FORMS[request.param](plain, tmp_path_factory.mktemp("files"))


def test_zeros_and_multiply_adds_do_not_depend_on_how_weights_are_stored(stored):
    assert (size.zero_weights(stored), size.macs(stored)) == (ZEROS, MACS)


def test_a_file_of_onnx_operators_reads_back_the_same_and_any_other_is_refused(stored):
    if any(node.domain for node in stored.graph.node):
        with pytest.raises(DamagedFile, match="operators"):
            load(stored.SerializeToString())
    else:
        again = load(stored.SerializeToString())
        assert (size.zero_weights(again), size.macs(again)) == (ZEROS, MACS)
        assert size.weight_bytes(again) == size.weight_bytes(stored)


def test_multiply_adds_of_a_quantized_residual_network(tmp_path):
    file = export(built("resnet_simple").eval(), (1, 28, 28))
    quantized = static(file, tmp_path, QuantFormat.QOperator)
    assert "QLinearAdd" in {node.op_type for node in quantized.graph.node}
    assert size.macs(quantized) == size.macs(file)


def graph(nodes, stored, images=("batch", 6), logits=("batch", None)):
    """Return a file that applies `nodes` to `stored` arrays, by name."""
    ends = [helper.make_tensor_value_info("images", TensorProto.FLOAT, images)]
    ends += [helper.make_tensor_value_info("logits", TensorProto.FLOAT, logits)]
    tensors = [numpy_helper.from_array(values, name) for name, values in stored.items()]
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    inside = helper.make_graph(nodes, "network", ends[:1], ends[1:], tensors)
    return helper.make_model(inside, opset_imports=opsets, ir_version=10)


node = helper.make_node
SIX = np.array([[0, 1, 2, 0, 3, 0], [4, 0, 5, 6, 7, 0]], np.float32)  # two outputs of six inputs, five zeros


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Transpose", ["w"], ["t"]), node("MatMul", ["images", "t"], ["logits"])],
        [node("Gemm", ["images", "w"], ["logits"], transB=1)],
        [node("Transpose", ["images"], ["x"]), node("MatMul", ["w", "x"], ["logits"])],
        [node("Gemm", ["w", "images"], ["logits"], transB=1)],
        [
            node("Constant", [], ["c"], value=numpy_helper.from_array(SIX)),
            node("Identity", ["c"], ["i"]),
            node("Cast", ["i"], ["half"], to=TensorProto.FLOAT16),
            node("Cast", ["half"], ["full"], to=TensorProto.FLOAT),
            node("Unsqueeze", ["full", "first"], ["three"]),
            node("Squeeze", ["three", "first"], ["two"]),
            node("Reshape", ["two", "shape"], ["same"]),
            node("Gemm", ["images", "same"], ["logits"], transB=1),
        ],
    ],
    ids=["turned", "rows", "on the left", "on the left of Gemm", "constant and carried"],
)
def test_a_weight_is_found_on_either_side_and_behind_changes_of_layout(nodes):
    file = graph(nodes, {"w": SIX, "shape": np.array([2, 6]), "first": np.array([0])})
    assert (size.zero_weights(file), size.macs(file)) == (5, 12)


@pytest.mark.parametrize("zero", [3, [3], [3, 5]], ids=["per tensor", "one number", "per output"])
@pytest.mark.parametrize("operator", ["MatMulInteger", "QLinearMatMul"])
def test_zeros_of_integer_products_are_their_zero_points(operator, zero):
    zeros = np.array(zero, np.uint8)
    stored = {
        "w": (SIX.T + zeros).astype(np.uint8),
        "zero": zeros,
        "scales": np.full(zeros.shape, 0.1, np.float32),
        "scale": np.float32(0.1),
        "none": np.uint8(0),
    }
    nodes = [node("QuantizeLinear", ["images", "scale", "none"], ["x"])]
    if operator == "MatMulInteger":
        nodes += [
            node(operator, ["x", "w", "", "zero"], ["y"]),
            node("Cast", ["y"], ["logits"], to=TensorProto.FLOAT),
        ]
    else:
        nodes += [node(operator, ["x", "scale", "none", "w", "scales", "zero", "scale", "none"], ["y"])]
        nodes += [node("DequantizeLinear", ["y", "scale", "none"], ["logits"])]
    file = graph(nodes, stored)
    assert (size.zero_weights(file), size.macs(file)) == (5, 12)


def test_a_linear_layer_is_applied_at_every_position():
    file = graph([node("MatMul", ["images", "w"], ["logits"])], {"w": SIX.T.copy()}, ("batch", 5, 6), ("batch", 5, 2))
    assert size.macs(file) == 5 * 12


def test_shared_weights_are_stored_once_and_applied_twice():
    """As ONNX Runtime writes them: each layer dequantizes for itself."""
    stored = {"w": np.array([[7, 1], [7, 7]], np.int8), "scale": np.float32(0.1), "zero": np.int8(7)}
    nodes = [node("DequantizeLinear", ["w", "scale", "zero"], [name]) for name in "ab"]
    nodes += [node("MatMul", ["images", "a"], ["x"]), node("MatMul", ["x", "b"], ["logits"])]
    file = graph(nodes, stored, ("batch", 2))
    assert (size.zero_weights(file), size.macs(file), size.weight_bytes(file)) == (3, 8, 4 + 4 + 1)


def test_products_of_activations_hold_no_weights():
    nodes = [node("Transpose", ["images"], ["x"]), node("MatMul", ["images", "x"], ["logits"])]
    file = graph(nodes, {})
    assert (size.zero_weights(file), size.macs(file), size.weight_bytes(file)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("nodes", "names"),
    [
        ([node("Add", ["w", "mask"], ["m"]), node("MatMul", ["images", "m"], ["logits"])], "MatMul 'logits'.*'m'"),
        ([node("Einsum", ["images", "w"], ["logits"], name="n", equation="bi,io->bo")], "Einsum 'n'.*'w'"),
        ([node("FusedMatMul", ["images", "w"], ["logits"], domain="com.microsoft")], "FusedMatMul 'logits'.*'w'"),
    ],
    ids=["computed", "another operator", "another domain"],
)
def test_what_cannot_be_counted_is_named(nodes, names):
    file = graph(nodes, {"w": SIX.T.copy(), "mask": np.ones((6, 2), np.float32)})
    for count in (size.macs, size.zero_weights):
        with pytest.raises(CannotCount, match=names):
            count(file)
