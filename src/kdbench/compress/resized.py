"""A network whose layers have other sizes than they were built with, and what it costs to run it."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn

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
        module.out_channels = module.weight.shape[0]
        module.in_channels = module.weight.shape[1] * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
        module.num_features = len(module.running_mean)


def macs(network: nn.Module, image_shape: Sequence[int]) -> int:
    """Count the multiply-adds for one image of every linear and convolutional layer, as `evaluation.size` does."""
    inner = features.model_of(network)
    layers = {name: module for name, module in inner.named_modules() if isinstance(module, WEIGHTED)}
    shapes = features.shapes(network, image_shape)
    return sum(math.prod(shape) * layers[name].weight[0].numel() for name, shape in shapes.items() if name in layers)
