import pytest
import torch
import torch.nn.functional as F

from kdbench.artifact.export import export
from kdbench.compress.quantize.dynamic_int8 import DynamicInt8
from kdbench.data.torchvision_import import torchvision
from kdbench.errors import BadSetting
from kdbench.evaluation import size
from kdbench.models.network import Network, build, fill, parameters
from kdbench.models.pretrained import load_weights
from kdbench.settings.normalisation import NAMED

GREY, COLOURS = (1, 32, 32), (3, 32, 32)
TARGET = "kdbench.models.torchvision_model.classifier"


def node(name: str, **knobs):
    return {"_target_": TARGET, "name": name, **knobs}


def built(name: str, shape=COLOURS, classes=7, statistics=((0.4,), (0.3,)), seed=0, **knobs) -> Network:
    return build(node(name, **knobs), seed, shape, classes, statistics)


def some(count: int, shape=COLOURS) -> torch.Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(0))


def test_parameters_have_torchvision_s_names_and_weights_written_there_fit_colours_and_grey_alike(tmp_path):
    torch.manual_seed(5)
    theirs = torchvision.models.squeezenet1_1(num_classes=7).eval()
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    colour, grey = built("squeezenet1_1"), built("squeezenet1_1", GREY)
    for network in (colour, grey):
        assert network.model.state_dict().keys() == theirs.state_dict().keys()
        load_weights(network.eval(), tmp_path / "w.pth")
    images = some(3, GREY)
    with torch.no_grad():
        repeated = theirs((images.repeat(1, 3, 1, 1) - 0.4) / 0.3)
        assert torch.allclose(grey(images), repeated, atol=1e-6)
        assert torch.equal(colour(images.repeat(1, 3, 1, 1)), grey(images))


def test_grey_images_are_normalised_like_the_colours_that_the_network_was_trained_on():
    grey, colour = (built("squeezenet1_1", shape, statistics=NAMED["imagenet"]).eval() for shape in (GREY, COLOURS))
    images = some(2, GREY)
    with torch.no_grad():
        assert torch.equal(grey(images), colour(images.repeat(1, 3, 1, 1)))


@pytest.mark.parametrize("shape", [GREY, COLOURS])
@pytest.mark.parametrize("name", ["squeezenet1_1", "shufflenet_v2_x0_5", "mnasnet0_5"])
def test_every_weight_of_one_learns(name, shape):
    network = built(name, shape).train()
    F.cross_entropy(network(some(8, shape)), torch.arange(8) % 7).backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in network.parameters())


def test_its_file_computes_the_same_and_is_counted_and_quantized():
    network = built("squeezenet1_1", GREY).eval()
    file = export(network, GREY)
    assert size.weight_bytes(file) == pytest.approx(4 * parameters(network), rel=0.01)
    small = DynamicInt8()(file, None)
    assert size.weight_bytes(small) == pytest.approx(parameters(network), rel=0.02)
    assert size.macs(small) == size.macs(file) > parameters(network)


def test_the_statistics_of_batch_norm_follow_within_a_short_training():
    # torchvision's mnasnet takes over 0.03% of a batch: in 1,000 it would keep most of its first values.
    network = built("mnasnet0_5").train()
    norm = next(m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d))
    before = norm.running_var.clone()
    with torch.no_grad():
        for _ in range(5):
            network(some(4))
    seen = F.conv2d((some(4) - 0.4) / 0.3, network.model.layers[0].weight, stride=2, padding=1).var((0, 2, 3))
    assert torch.allclose(norm.running_var, 0.9**5 * before + (1 - 0.9**5) * seen, rtol=1e-3)


def test_weights_from_a_file_without_versions_are_those_of_this_version():
    network, other = built("mnasnet0_5", seed=1), built("mnasnet0_5", seed=2)
    with pytest.raises(ValueError, match="version"):  # why `fill` is there
        other.load_state_dict(dict(network.state_dict()))
    fill(other, dict(network.state_dict()))
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("name", "knobs", "message"),
    [
        (
            "mobilnet_v3_small",
            {},
            "mobilnet_v3_small is no classifier of torchvision: .*mobilenet_v3_s",
        ),
        ("fcn_resnet50", {}, "is no classifier of torchvision"),
        (None, {}, "is no classifier of torchvision"),
        ("resnet18", {"weights": "DEFAULT"}, r"model\.weights is decided by kdbench"),
        ("resnet18", {"num_classes": 3}, r"model\.num_classes is decided by kdbench"),
        ("resnet18", {"widht": 3}, r"model: resnet18 .*widht"),
    ],
)
def test_what_torchvision_does_not_know_is_refused_in_one_line(name, knobs, message):
    with pytest.raises(BadSetting, match=message) as error:
        built(name, **knobs)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("squeezenet1_1", (3, 12, 12), "it takes square ones from 20x20 on"),
        ("vit_b_32", (1, 28, 28), "it takes square ones of 32x32, 64x64"),
        ("vit_b_16", (3, 32, 16), "vit_b_16 takes square images, not 32x16"),
    ],
)
def test_sizes_that_one_can_take_are_said(name, shape, message):
    with pytest.raises(BadSetting, match=message) as error:
        built(name, shape)
    assert "\n" not in str(error.value)


def test_several_means_need_a_network_that_takes_as_many_channels():
    cnn = {"_target_": "kdbench.models.cnn.CNN", "widths": [4], "convs": 1, "head": "flatten"}
    with pytest.raises(BadSetting, match=r"normalise gives 3 channels, and .*CNN takes the 1 of the images"):
        build(cnn, 0, GREY, 7, NAMED["imagenet"])
