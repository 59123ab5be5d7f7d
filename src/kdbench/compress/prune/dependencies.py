"""Which channels depend on which, and of which layers some can be removed."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from kdbench.compress.layers import WEIGHTED, tied
from kdbench.compress.resized import resized
from kdbench.errors import BadSetting
from kdbench.models.network import first_line


def graph_of(network: nn.Module, shape: Sequence[int]) -> Any:
    """Return which channels depend on which. Raises `BadSetting` where Torch-Pruning cannot find out."""
    import torch_pruning

    try:
        return torch_pruning.DependencyGraph().build_dependency(network, example_inputs=torch.rand(2, *shape))
    except Exception as error:  # whatever it makes of operations that it does not know
        raise BadSetting(
            "compress=prune_structured: Torch-Pruning cannot tell which channels of the network depend on which "
            f"({first_line(error)}): choose another method"
        ) from error


def prunable(model: nn.Module, shape: Sequence[int]) -> list[str]:
    """Return the names of layers whose channels can go, one of all that must go together."""
    network = copy.deepcopy(model).cpu().eval()
    names = [name for name, module in network.named_modules() if isinstance(module, WEIGHTED)]
    if not names:
        return []
    graph = graph_of(network, shape)
    whole = tied(network) | set(filter(is_parametrized, network.modules()))
    found: list[str] = []
    seen: set[nn.Module] = set()
    for name in names:
        layer = network.get_submodule(name)
        if layer in seen or layer not in graph.module2node or layer.weight.shape[0] < 2:  # or never run
            continue
        prune = graph.get_pruner_of_module(layer).prune_out_channels
        group = [dependency for dependency, _ in graph.get_pruning_group(layer, prune, idxs=[0])]
        # The pruner of a depthwise convolution, whose outputs go with its inputs, is another than that of the layer.
        seen |= {one.target.module for one in group if graph.is_out_channel_pruning_fn(one.handler)}
        if whole.isdisjoint(one.target.module for one in group) and can_go(network, name, shape):
            found.append(name)
    return found


def can_go(network: nn.Module, name: str, shape: Sequence[int]) -> bool:
    """Whether the network, and what is made of its shapes, give as many logits once a channel of a layer is gone."""
    trial, images = copy.deepcopy(network), torch.rand(2, *shape)
    graph, layer = graph_of(trial, shape), trial.get_submodule(name)
    logits = network(images).shape
    try:
        graph.get_pruning_group(layer, graph.get_pruner_of_module(layer).prune_out_channels, idxs=[0]).prune()
        return bool(trial(images).shape == again(network, trial)(images).shape == logits)
    except Exception:  # whatever layers, or a forward of the user's own, make of sizes that they do not expect
        return False


def again(model: nn.Module, pruned: nn.Module) -> nn.Module:
    """Return `model` in the shapes of `pruned`, as it is made when stored weights are read."""
    return resized(model, {name: tensor.shape for name, tensor in pruned.state_dict().items()})
