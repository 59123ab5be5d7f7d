from itertools import pairwise, product
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from kdbench.data.suitable import CHANNELS, MAX_CLASSES, MAX_SIDE, MIN_CLASSES, MIN_SIDE
from kdbench.errors import BadSetting
from kdbench.models.cnn import CNN
from kdbench.models.mlp import MLP
from kdbench.models.network import Network, Normalise, build, fill, parameters, require_a_file_holds
from kdbench.models.pretrained import load_weights
from kdbench.models.resnet import ResNet
from kdbench.models.weights_file import written
from kdbench.settings.choices import config_dir
from kdbench.storage.store import Store

OF_OTHERS = ("onnx", "python", "torchvision", "fully_connected")  # one YAML for many
OF_DIGITS = ("lenet5", "lenet5_caffe", "lenet5_half")  # which take images from 16 x 16 or 28 x 28 on
NAMES = sorted(path.stem for path in (config_dir() / "model").glob("*.yaml") if path.stem not in OF_OTHERS)
DIGITS = ((1, 28, 28), 10)
COLOURS = ((3, 32, 32), 7)
SHAPES = {"digits": DIGITS, "colours": COLOURS}


def shipped(name: str) -> dict[str, Any]:
    node = OmegaConf.to_container(OmegaConf.load(config_dir() / "model" / f"{name}.yaml"))
    return {key: value for key, value in node.items() if key not in ("teacher", "defaults")}


def built(name: str, seed: int = 0, data=DIGITS) -> Network:
    shape, classes = data
    statistics = [0.1 + 0.1 * channel for channel in range(shape[0])], [0.3 + 0.1 * c for c in range(shape[0])]
    return build(shipped(name), seed, shape, classes, statistics)


def some(count: int, data=DIGITS) -> torch.Tensor:
    return torch.rand(count, *data[0], generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("data", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_every_model_maps_images_to_a_logit_for_each_class_and_every_weight_learns(name, data):
    network = built(name, data=SHAPES[data])
    logits = network(some(3, SHAPES[data]))
    assert logits.shape == (3, SHAPES[data][1])
    logits.square().sum().backward()
    for weight_name, weight in network.named_parameters():
        assert weight.grad is not None, weight_name
        assert weight.grad.abs().sum() > 0, weight_name


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OF_DIGITS])
def test_every_model_can_be_built_up_to_the_ends_of_what_is_possible(name):
    for channels, side, classes in product(CHANNELS, (MIN_SIDE, MAX_SIDE), (MIN_CLASSES, MAX_CLASSES)):
        assert built(name, data=((channels, side, side), classes)).model  # which is run on two images


@pytest.mark.parametrize("data", SHAPES)
@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("mlp")])
def test_images_and_gradients_stay_channels_last_through_the_layers(name, data):
    # One layer of another layout costs a copy in each of its neighbours: 15% of a training step of ResNet-8.
    network = built(name, data=SHAPES[data]).to(memory_format=torch.channels_last)
    layers = list(network.model.children())
    before_the_head = layers[: [type(layer) for layer in layers].index(nn.Flatten) - 1]
    values: list[torch.Tensor] = []
    for layer in before_the_head:
        layer.register_forward_hook(lambda layer, inputs, output: values.append(output.detach()))
        layer.register_forward_hook(lambda layer, inputs, output: output.register_hook(values.append) and None)
    network(some(3, SHAPES[data])).square().sum().backward()
    assert len(values) == 2 * len(before_the_head)
    assert all(value.is_contiguous(memory_format=torch.channels_last) for value in values)


@pytest.mark.parametrize(("stages", "side"), [(1, 28), (2, 14), (3, 7), (4, 4), (5, 2)])
def test_a_resnet_averages_over_all_of_the_image_that_is_left(stages, side):
    network = ResNet([8] * stages, 1, *DIGITS)
    assert next(m.kernel_size for m in network.modules() if isinstance(m, nn.AvgPool2d)) == (side, side)
    assert network(some(2)).shape == (2, 10)


@pytest.mark.parametrize(
    "make", [lambda shape: CNN([4, 4, 4], 1, "average", shape, 3), lambda shape: ResNet([4, 4], 1, shape, 3)]
)
def test_images_need_not_be_square(make):
    shape = (2, 20, 13)
    assert make(shape)(torch.rand(2, *shape)).shape == (2, 3)


@pytest.mark.parametrize("widths", [[64], [256, 128], [3, 5, 7]])
@pytest.mark.parametrize(("shape", "classes", "inputs"), [(*DIGITS, 784), (*COLOURS, 3072)])
def test_parameters_of_an_mlp(widths, shape, classes, inputs):
    sizes = [inputs, *widths, classes]
    expected = sum((before + 1) * after for before, after in pairwise(sizes))
    assert parameters(MLP(widths, shape, classes)) == expected


@pytest.mark.parametrize(
    ("head", "data", "positions"), [("flatten", DIGITS, 9), ("flatten", COLOURS, 16), ("average", COLOURS, 1)]
)
@pytest.mark.parametrize("convs", [1, 2])
def test_parameters_of_a_cnn(head, data, positions, convs):
    widths = [4, 6, 8]
    (channels, *_), classes = data
    expected = (8 * positions + 1) * classes
    before = channels
    for width in widths:
        for _ in range(convs):
            expected += 9 * before * width + 2 * width
            before = width
    assert parameters(CNN(widths, convs, head, *data)) == expected


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_resnet_has_6n_plus_2_layers(n):
    network = ResNet([16, 32, 64], n, *DIGITS)
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(layers) == 6 * n + 2


def test_parameters_of_resnet_20():
    # He et al. 2016, table 6: 0.27M. Exactly: 9 * (inputs * 16 + 6 * 16² + 16 * 32 + 5 * 32² + 32 * 64 + 5 * 64²)
    # weights, 2 * (7 * 16 + 6 * 32 + 6 * 64) for batch norm, 65 a class for the head.
    assert parameters(ResNet([16, 32, 64], 3, *DIGITS)) == 267_408 + 1_376 + 650
    assert parameters(ResNet([16, 32, 64], 3, (3, 32, 32), 10)) == 267_408 + 2 * 9 * 16 + 1_376 + 650


def test_seeds_decide_the_weights_and_zero_is_a_seed():
    def weights(seed: int) -> torch.Tensor:
        return torch.cat([p.flatten() for p in built("cnn_simple", seed).parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


# Of commit 1a6c21a, at seed 3: how many, their sum, the sum of their magnitudes, the first, middle and last.
WEIGHTS = {
    "cnn_deep": (288170, 430.235872, 5842.450567, -0.330491006, 0.00746897655, 0.0363324061),
    "cnn_medium": (24618, 95.850481, 866.943052, -0.330491006, -0.00209665112, -0.00941071566),
    "cnn_simple": (8106, 46.231804, 383.656666, -0.330491006, 0.0572548136, 0.0387022607),
    "mlp_deep": (1494154, -3.306067, 26528.075202, -0.0354097486, 0.0145070348, -0.0245099831),
    "mlp_medium": (235146, -16.934791, 4673.017524, -0.0354097486, 0.00287173921, -0.0557759069),
    "mlp_simple": (50890, -4.133460, 939.244829, -0.0354097486, 0.0215907451, 0.0300599489),
    "resnet_deep": (269434, 695.595136, 14947.006606, -0.0336668864, -0.0352939367, -0.00183053315),
    "resnet_medium": (172218, 492.940662, 9625.630520, -0.181217983, -0.0030496011, 0.0732128769),
    "resnet_simple": (75002, 239.235316, 4243.761681, 0.0033656517, -0.0189061183, 0.0639099926),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_initial_weights_for_digits_are_what_they_always_were(name):
    """To what processors of other instruction sets differ by."""
    flat = torch.cat([p.detach().flatten() for p in built(name, seed=3).parameters()]).double()
    values = flat[[0, len(flat) // 2, -1]].tolist()
    found = (len(flat), float(flat.sum()), float(flat.abs().sum()), *values)
    assert found == pytest.approx(WEIGHTS[name], rel=1e-4, abs=1e-5)


def test_normalisation_is_part_of_the_network():
    images = torch.rand(2, 1, 28, 28)
    assert torch.allclose(Normalise([0.25], [0.5])(images), (images - 0.25) / 0.5)
    assert isinstance(built("mlp_simple")[0], Normalise)


def test_each_channel_is_normalised_by_its_own_statistics(colours):
    means, deviations = colours.pixel_statistics
    shown = Normalise(means, deviations)(colours.train.images.float() / 255)
    assert shown.mean(dim=(0, 2, 3)).tolist() == pytest.approx([0] * 3, abs=1e-4)
    assert shown.std(dim=(0, 2, 3), correction=0).tolist() == pytest.approx([1] * 3, abs=1e-4)


class TooMany(MLP):
    def __init__(self, shape, classes):
        super().__init__([4], shape, classes + 1)


class Images(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 10, 1)

    def forward(self, images):
        return self.layer(images)


class Fixed(nn.Sequential):
    """A model that knows neither shape nor classes by name."""

    def __init__(self, outputs=10):
        super().__init__(nn.Flatten(), nn.Linear(784, outputs))


class Wide(nn.Sequential):
    """Takes no small image."""

    def __init__(self, side, classes):
        super().__init__(nn.AvgPool2d(side), nn.Flatten(), nn.LazyLinear(classes))


class Looking(nn.Module):
    """Reads numbers, which cannot be tried with shapes alone, and takes no image."""

    def forward(self, images):
        if float(images.sum()) < 0:
            raise RuntimeError("too small")


class Several(nn.Flatten):
    def forward(self, images):
        return super().forward(images)[:, :10], images


class Wordy(nn.Flatten):
    def __init__(self):
        raise ValueError("one\n  two")


class Nothing:
    pass


def build_own(name: str, data=DIGITS, **knobs: Any) -> Network:
    shape, classes = data
    return build(
        {"_target_": f"tests.models.test_models.{name}", **knobs},
        0,
        shape,
        classes,
        ([0.5] * shape[0], [0.5] * shape[0]),
    )


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("TooMany", DIGITS, r"gives outputs of shape \(11,\) for images of 1x28x28: the data have 10 classes"),
        ("Fixed", (DIGITS[0], 7), r"gives outputs of shape \(10,\) for images of 1x28x28: the data have 7 classes"),
        ("Images", DIGITS, r"gives outputs of shape \(10, 28, 28\)"),
        ("Fixed", COLOURS, "cannot be run on images of 3x32x32 .*: it takes no square ones from 8 to 64 pixels"),
        ("Images", COLOURS, "cannot be run on images of 3x32x32"),
        ("Looking", DIGITS, r"cannot be run on images of 1x28x28 \(too small\): try another size"),
        ("Several", DIGITS, "Several gives a tuple, and not logits alone"),
        ("Nothing", DIGITS, "gives a Nothing, and not a network: an nn.Module"),
    ],
)
def test_a_model_that_does_not_fit_the_data_is_refused_in_one_line(name, data, problem):
    with pytest.raises(BadSetting, match=problem) as error:
        build_own(name, data)
    assert len(str(error.value).splitlines()) == 1
    assert name in str(error.value)


@pytest.mark.parametrize(
    ("side", "sizes"), [(30, "it takes square ones from 32x32 on"), (61, "it takes square ones of 64x64")]
)
def test_sizes_that_a_model_can_take_are_said(side, sizes):
    with pytest.raises(BadSetting, match=f"Wide cannot be run on images of 1x28x28 .*: {sizes}$"):
        build_own("Wide", side=side)


class Tied(nn.Sequential):
    def __init__(self, classes):
        super().__init__(nn.Flatten(), nn.Linear(784, 9), nn.Linear(9, 9), nn.Linear(9, 9), nn.Linear(9, classes))
        self[3].weight = self[2].weight


def test_layers_that_share_weights_are_kept_and_come_back(tmp_path):
    one, other = build_own("Tied"), build_own("Tied")
    with torch.no_grad():
        one.model[2].weight.mul_(2)
    tensors = dict(one.state_dict())
    kept = Store(tmp_path).memo("key", "it", {}, lambda: (tensors, {})).tensors
    assert torch.equal(Store(tmp_path).get("key").tensors["1.3.weight"], tensors["1.3.weight"])
    fill(other, kept)
    assert other.model[3].weight is other.model[2].weight
    (tmp_path / "w").write_bytes(written(one))
    load_weights(other, tmp_path / "w")
    assert torch.equal(other(some(2)), one(some(2)))


def test_what_a_model_refuses_in_several_lines_is_one():
    with pytest.raises(BadSetting, match=r"^model: one two$"):
        build_own("Wordy")


def test_a_network_that_no_file_holds_is_refused(monkeypatch):
    monkeypatch.setattr("kdbench.models.network.MOST_BYTES", 4 * 7849)
    with pytest.raises(BadSetting, match="Fixed has 7,850 parameters: no ONNX file holds 2 GB or more"):
        require_a_file_holds(build_own("Fixed"), "Fixed")


def test_a_model_need_not_know_shape_and_classes():
    network = build_own("Fixed")
    assert network(some(2)).shape == (2, 10)
    assert network.training  # as torch makes it; looking at its logits changed nothing


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: MLP([], *DIGITS), "model.widths"),
        (lambda: MLP([0], *DIGITS), "model.widths"),
        (lambda: MLP("64", *DIGITS), "model.widths"),
        (lambda: CNN([8, True], 1, "flatten", *DIGITS), "model.widths"),
        (lambda: CNN([8], 0, "flatten", *DIGITS), "model.convs"),
        (lambda: CNN([8], 1, "flaten", *DIGITS), "model.head=flaten is unknown: did you mean 'flatten'"),
        (lambda: CNN([8] * 5, 1, "flatten", *DIGITS), "takes images from 32x32 on, and these are 28x28"),
        (lambda: ResNet([16, 8], 1, *DIGITS), "model.widths"),
        (lambda: ResNet([16], 1.5, *DIGITS), "model.blocks"),
    ],
)
def test_bad_knobs_are_named(make, field):
    with pytest.raises(BadSetting, match=field):
        make()


def test_as_many_stages_as_can_be_halved_are_allowed():
    for shape, most in (((1, 28, 28), 4), ((3, 32, 32), 5), ((1, 9, 40), 3)):
        assert CNN([2] * most, 1, "flatten", shape, 4)(torch.rand(2, *shape)).shape == (2, 4)
        with pytest.raises(BadSetting, match="takes images from"):
            CNN([2] * (most + 1), 1, "flatten", shape, 4)
