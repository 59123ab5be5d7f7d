"""Which weights a compression is about."""

from __future__ import annotations

from torch import Tensor, nn

WEIGHTED = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


def weight_names(network: nn.Module) -> list[str]:
    """Return the names of the weights of every linear and convolutional layer; biases and batch norm are left out."""
    return [f"{name}.weight" if name else "weight" for name, m in network.named_modules() if isinstance(m, WEIGHTED)]


def weights(network: nn.Module) -> dict[str, Tensor]:
    """Return these weights by name, without gradients; they share their numbers with the network."""
    return {name: network.get_parameter(name).detach() for name in weight_names(network)}
