"""The classifiers of torchvision by their names there, initialised as they are there; nothing is downloaded."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from kdbench.data.torchvision_import import torchvision
from kdbench.errors import BadSetting, nearest

COLOURS = 3  # the channels that every one of them takes
# Of batch norm: torch's default. Theirs (0.0003 in mnasnet, 0.01 in mobilenet_v3) are for the steps of ImageNet,
# hundreds of thousands; in a thousand, the statistics would stay near those of the initial network.
MOMENTUM = 0.1
# What is not for the user to say: no download, the classes of the data, and one output where there may be more.
DECIDED = ("weights", "progress", "num_classes", "aux_logits", "transform_input")


def classifier(name: str, shape: tuple[int, int, int], classes: int, **knobs: Any) -> nn.Module:
    """Return the classifier that torchvision calls `name`, for images of `shape` (channels, height, width).

    Its parameters have the names that they have in torchvision, so that `weights` written there fit. `knobs` are
    further arguments of its builder, such as `dropout`. Grey images it sees as colours, each channel the same.
    Raises `BadSetting` for a name or a knob that torchvision does not know.
    """
    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        raise BadSetting(f"model.name={name} is no classifier of torchvision: {nearest(str(name), names)}")
    decided = [knob for knob in knobs if knob in DECIDED]
    if decided:
        raise BadSetting(f"model.{decided[0]} is decided by kdbench: leave it out (weights=FILE gives weights)")
    builder = torchvision.models.get_model_builder(name)
    try:
        made = builder(weights=None, num_classes=classes, **for_its_builder(name, shape), **knobs)
    except TypeError as error:
        raise BadSetting(f"model: {name} does not take these arguments: {error}") from error
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = MOMENTUM
    if shape[0] == 1:
        made.register_forward_pre_hook(grey_to_colour)
    return made


def for_its_builder(name: str, shape: tuple[int, int, int]) -> dict[str, Any]:
    """Return arguments that some architectures need: the size of the images, or to have one output only."""
    _, height, width = shape
    if name in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "init_weights": True}
    if name.startswith("vit_"):
        if height != width:
            raise BadSetting(f"{name} takes square images, not {height}x{width}")
        return {"image_size": height}
    return {"input_size": (height, width)} if name.startswith("maxvit") else {}


def grey_to_colour(_: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    """Repeat the one channel of grey images (batch, 1, height, width) three times, in front of a network for colours.

    Images that are normalised a channel at a time have three already, and stay as they are.
    """
    return inputs[0].expand(-1, COLOURS, -1, -1)
