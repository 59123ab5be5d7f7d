"""From a model's description to the network that ships: normalisation in front, then the model."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdbench.errors import BadSetting
from kdbench.models.views import ImageView
from kdbench.settings import targets

MOST_BYTES = 2**31 - 1  # of a protocol buffer, which an ONNX file is
SIZES = range(8, 65, 4)  # of square images, among which those that a network can take are looked for
CANNOT_RUN = (RuntimeError, ValueError, AssertionError)  # what layers raise for shapes that they cannot take


class Normalise(nn.Module):
    """Pixels in [0, 1] minus `mean`, over `deviation`, a channel at a time; part of the network, so it ships."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, means: Sequence[float], deviations: Sequence[float]) -> None:
        super().__init__()
        # A channel at a time; for one channel a scalar, the smallest thing that can be stored.
        shape = (-1, 1, 1) if len(means) > 1 else ()
        self.register_buffer("mean", torch.tensor(means).view(shape))
        self.register_buffer("deviation", torch.tensor(deviations).view(shape))

    def forward(self, images: Tensor) -> Tensor:
        """Map (batch, channels, height, width) to the same shape; of one channel and several means come several."""
        return (images - self.mean) / self.deviation


class Network(nn.Sequential):
    """Images float32 (batch, channels, height, width) in [0, 1] to logits (batch, classes).

    `view` says what of them is seen; None: all.
    """

    def __init__(self, normalise: Normalise, model: nn.Module, view: ImageView | None = None) -> None:
        super().__init__(normalise, model)
        self.view = view

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        seen = images if self.view is None else self.view(images)
        return self[1](self[0](seen))

    @property
    def model(self) -> nn.Module:
        """The model, which is given normalised images."""
        return self[1]


def build(
    model: dict[str, Any],
    seed: int,
    shape: tuple[int, int, int],
    classes: int,
    pixel_statistics: tuple[Sequence[float], Sequence[float]],
) -> Network:
    """Return the network with the initial weights that `seed` decides.

    The model's class is called with its knobs, and with `shape` (channels, height, width) and `classes` where it has
    parameters of these names. `pixel_statistics` are means and standard deviations to normalise by. Raises
    `BadSetting` if it cannot be built, or does not give that many logits.
    """
    means, _ = pixel_statistics
    torch.manual_seed(seed)
    try:
        network = assembled(model, shape, classes, pixel_statistics)
        found = outputs(network, shape)
    except BadSetting:
        raise
    except CANNOT_RUN as error:
        if "memory" in str(error).lower():  # which is no matter of sizes
            raise
        if len(means) not in (1, shape[0]):
            raise BadSetting(
                f"normalise gives {len(means)} channels, and {name_of(model)} takes the {shape[0]} of the images: "
                "type normalise=data"
            ) from error
        raise BadSetting(
            f"{name_of(model)} cannot be run on images of {in_words(shape)} ({first_line(error)}): "
            + sizes_in_words(possible_sizes(model, shape, classes))
        ) from error
    if found != (2, classes):
        raise BadSetting(
            f"{name_of(model)} gives outputs of shape {found[1:]} for images of {in_words(shape)}: "
            f"the data have {classes} classes"
        )
    return network


def require_a_file_holds(network: Network, name: str) -> None:
    """Raise `BadSetting` if there are more weights than the file that ships can hold."""
    if 4 * parameters(network) > MOST_BYTES:
        raise BadSetting(f"{name} has {parameters(network):,} parameters: no ONNX file holds 2 GB or more")


def assembled(
    model: dict[str, Any],
    shape: tuple[int, int, int],
    classes: int,
    pixel_statistics: tuple[Sequence[float], Sequence[float]],
) -> Network:
    """Return the network, whether it can be run or not."""
    accepted = inspect.signature(targets.target_of(model, "model")).parameters
    known = {"shape": shape, "classes": classes}
    made = targets.instantiate({name: value for name, value in known.items() if name in accepted} | model, "model")
    if not isinstance(made, nn.Module):
        raise BadSetting(f"model: {model['_target_']} gives a {type(made).__name__}, and not a network: an nn.Module")
    return Network(Normalise(*pixel_statistics), made)


@torch.no_grad()
def outputs(network: Network, shape: tuple[int, int, int]) -> tuple[int, ...]:
    """Return the shape of what the network makes of two images. Raises one of `CANNOT_RUN`, or what it raises."""
    training = network.training
    try:
        made = network.eval()(torch.zeros(2, *shape))
    finally:
        network.train(training)
    if not isinstance(made, Tensor):
        raise BadSetting(f"model: {type(network.model).__name__} gives a {type(made).__name__}, and not logits alone")
    return tuple(made.shape)


def possible_sizes(model: dict[str, Any], shape: tuple[int, int, int], classes: int) -> list[int] | None:
    """Return those of `SIZES` at which the model can be run on square images of as many channels as `shape` has.

    None where that is not known: of shapes alone, without numbers, not every model can be made.
    """
    found = []
    for side in SIZES:
        tried = (shape[0], side, side)
        try:
            with torch.device("meta"):
                if outputs(assembled(model, tried, classes, ((0.0,), (1.0,))), tried) == (2, classes):
                    found.append(side)
        except CANNOT_RUN as error:
            if "meta tensor" in str(error):
                return None
        except Exception:  # whatever else a model of the user's own makes of tensors without numbers
            return None
    return found


def sizes_in_words(sizes: list[int] | None) -> str:
    """Say what `possible_sizes` found: `it takes square ones from 32x32 on`."""
    if sizes is None:
        return "try another size"
    if not sizes:
        return f"it takes no square ones from {SIZES[0]} to {SIZES[-1]} pixels"
    if len(sizes) > 1 and sizes == list(SIZES)[-len(sizes) :]:
        return f"it takes square ones from {sizes[0]}x{sizes[0]} on"
    return f"it takes square ones of {', '.join(f'{side}x{side}' for side in sizes)}"


def name_of(model: dict[str, Any]) -> str:
    """Return what messages call a model: its target, or what it is called among those of one target."""
    return str(model.get("name", model["_target_"]))


def in_words(shape: Sequence[int]) -> str:
    """Return a shape as a person writes it: `3x32x32`."""
    return "x".join(map(str, shape)) or "a number"


def first_line(error: BaseException) -> str:
    """Return what an error says, cut to one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def fill(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put `tensors` in the place of all that `module` has, by their names. Raises `RuntimeError` if they do not fit.

    They count as written by its own version: torchvision's mnasnet asks for one, and no file of tensors holds it.
    """
    given = OrderedDict(tensors)
    given._metadata = module.state_dict()._metadata  # type: ignore[attr-defined]
    module.load_state_dict(given)


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    """Whether two networks of one architecture hold the same numbers, on whatever devices."""
    others = other.state_dict()
    return all(torch.equal(tensor.cpu(), others[name].cpu()) for name, tensor in one.state_dict().items())


def parameters(network: nn.Module) -> int:
    """Count trainable parameters: weights, biases and the scale and shift of batch norm.

    A model that holds none, since it is a file, says how many its file has as `parameter_count`.
    """
    counted = getattr(getattr(network, "model", None), "parameter_count", None)
    if counted is not None:
        return int(counted)
    return sum(parameter.numel() for parameter in network.parameters())
