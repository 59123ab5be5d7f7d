"""Which weights a compression is about."""

from __future__ import annotations

from collections import Counter

from torch import Tensor, nn

WEIGHTED = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


def weight_names(network: nn.Module) -> list[str]:
    """Return the names of the weights of every linear and convolutional layer; biases and batch norm are left out.

    A weight that several layers share is named once, by the first of them. Layers whose weight is computed from other
    parameters, as by `torch.nn.utils.parametrizations`, are left out.
    """
    first: dict[nn.Parameter, str] = {}
    for name, module in network.named_modules():
        if isinstance(module, WEIGHTED) and isinstance(module.weight, nn.Parameter):
            first.setdefault(module.weight, f"{name}.weight" if name else "weight")
    return list(first.values())


def weights(network: nn.Module) -> dict[str, Tensor]:
    """Return these weights by name, without gradients; they share their numbers with the network."""
    return {name: network.get_parameter(name).detach() for name in weight_names(network)}


def tied(network: nn.Module) -> set[nn.Module]:
    """Return the layers with a parameter that the network has under several names, as where two layers share it."""
    names = Counter(id(parameter) for _, parameter in network.named_parameters(remove_duplicate=False))
    return {
        module
        for module in network.modules()
        if any(names[id(parameter)] > 1 for parameter in module.parameters(recurse=False))
    }
