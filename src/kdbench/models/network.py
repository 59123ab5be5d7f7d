"""From a model's description to the network that ships: normalisation in front, then the model."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdbench.errors import BadSetting
from kdbench.settings import targets


class Normalise(nn.Module):
    """Pixels in [0, 1] to zero mean and unit variance over the training set; part of the network, so it ships."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, means: Sequence[float], deviations: Sequence[float]) -> None:
        super().__init__()
        # A channel at a time; for one channel a scalar, the smallest thing that can be stored.
        shape = (-1, 1, 1) if len(means) > 1 else ()
        self.register_buffer("mean", torch.tensor(means).view(shape))
        self.register_buffer("deviation", torch.tensor(deviations).view(shape))

    def forward(self, images: Tensor) -> Tensor:
        """Map (batch, channels, height, width) to the same shape."""
        return (images - self.mean) / self.deviation


class Network(nn.Sequential):
    """Images float32 (batch, channels, height, width) in [0, 1] to logits (batch, classes)."""

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
    parameters of these names. Raises `BadSetting` if it cannot be built, or does not give that many logits.
    """
    accepted = inspect.signature(targets.target_of(model, "model")).parameters
    known = {"shape": shape, "classes": classes}
    torch.manual_seed(seed)
    made = targets.instantiate({name: value for name, value in known.items() if name in accepted} | model, "model")
    network = Network(Normalise(*pixel_statistics), made)
    require_logits(network, model["_target_"], shape, classes)
    return network


@torch.no_grad()
def require_logits(network: Network, name: str, shape: tuple[int, int, int], classes: int) -> None:
    """Raise `BadSetting` unless the network makes `classes` logits of an image of `shape`."""
    size = "x".join(map(str, shape))
    training = network.training
    try:
        found = tuple(network.eval()(torch.zeros(2, *shape)).shape)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BadSetting(f"{name} cannot be run on images of {size}, as its YAML says ({reason})") from error
    finally:
        network.train(training)
    if found != (2, classes):
        raise BadSetting(
            f"{name} gives outputs of shape {found[1:]} for images of {size}: the data have {classes} classes"
        )


def parameters(network: nn.Module) -> int:
    """Count trainable parameters: weights, biases and the scale and shift of batch norm.

    A model that holds none, since it is a file, says how many its file has as `parameter_count`.
    """
    counted = getattr(getattr(network, "model", None), "parameter_count", None)
    if counted is not None:
        return int(counted)
    return sum(parameter.numel() for parameter in network.parameters())
