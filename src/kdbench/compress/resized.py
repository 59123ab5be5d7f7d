"""A network whose layers have other sizes than they were built with, and what it costs to run it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from kdbench.compress.layers import WEIGHTED
from kdbench.training import features


def resized(model: nn.Module, shapes: Mapping[str, torch.Size]) -> nn.Module:
    """Return a copy of `model`, of whatever weights, whose parameters and buffers have these shapes, by name."""
    changed = copy.deepcopy(model)
    for name, module in changed.named_modules():
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for kind, tensor in own:
            shape = shapes.get(f"{name}.{kind}" if name else kind)
            if shape is not None and shape != tensor.shape:
                blank = torch.zeros(shape, dtype=tensor.dtype)
                setattr(module, kind, nn.Parameter(blank) if isinstance(tensor, nn.Parameter) else blank)
        tell_sizes(module)
    return changed


def tell_sizes(module: nn.Module) -> None:
    """Set what a layer says of its sizes to those of its tensors: convolutions check it when they are run."""
    if isinstance(module, nn.modules.conv._ConvNd):
        tell_channels(module)
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.LayerNorm | nn.RMSNorm) and module.weight is not None:
        module.normalized_shape = tuple(module.weight.shape)
    elif isinstance(module, nn.GroupNorm) and module.weight is not None:
        module.num_channels = len(module.weight)
    elif isinstance(module, nn.modules.batchnorm._NormBase):  # batch norm and instance norm
        tensor = module.running_mean if module.weight is None else module.weight
        module.num_features = module.num_features if tensor is None else len(tensor)


def tell_channels(layer: nn.modules.conv._ConvNd) -> None:
    """Set the channels of a convolution, and its groups where it was depthwise: as many as it has inputs."""
    first, second = layer.weight.shape[:2]
    if layer.groups == layer.in_channels > 1:
        each = layer.out_channels // layer.groups  # outputs of an input
        layer.groups = first if layer.transposed else first // each
    inputs_first = (first, second * layer.groups)
    layer.in_channels, layer.out_channels = inputs_first if layer.transposed else inputs_first[::-1]


def macs(network: nn.Module, image_shape: Sequence[int]) -> int:
    """Count the multiply-adds for one image of every call of a layer with weights.

    Those are all that `evaluation.size` counts in the file, but for functions that a `forward` gives weights to.
    """
    counts: list[int] = []

    def count(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        # Each number that a layer puts out adds up its inputs; in transposed ones each number put in goes to outputs.
        ends = given[0] if getattr(layer, "transposed", False) else output
        counts.append(ends.numel() * layer.weight[0].numel())

    kinds = WEIGHTED | nn.modules.conv._ConvTransposeNd
    hooks = [module.register_forward_hook(count) for module in network.modules() if isinstance(module, kinds)]
    try:
        features.shapes(network, image_shape)
    finally:
        for hook in hooks:
            hook.remove()
    return sum(counts)
