"""What a network computes for a batch: logits, and the outputs of layers that are asked for by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from kdbench.errors import BadSetting


@dataclass(frozen=True)
class Output:
    """`logits`: float32 (n, classes). `features`: the outputs of layers by name, float32, of whatever shape."""

    logits: Tensor
    features: dict[str, Tensor] = field(default_factory=dict)


def run(network: nn.Module, images: Tensor, layers: Sequence[str] = ()) -> Output:
    """Return what `network` makes of `images` (n, channels, height, width).

    Features are copied where a later layer works in place. Raises `BadSetting` for a layer that there is not.
    """
    if not layers:
        return Output(network(images))
    modules = {name: submodule(network, name) for name in layers}
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, given: Any, output: Tensor) -> None:
            found[name] = output.clone()

        return hook

    hooks = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    try:
        logits = network(images)
    finally:
        for hook in hooks:
            hook.remove()
    missing = [name for name in layers if name not in found]
    if missing:
        raise BadSetting(f"layer {missing[0]} takes no part when the network is run: choose another")
    return Output(logits, {name: found[name] for name in layers})


def in_float32(output: Output) -> Output:
    """Return the same in float32, in which losses are computed."""
    return Output(output.logits.float(), {name: feature.float() for name, feature in output.features.items()})


def model_of(network: nn.Module) -> nn.Module:
    """Return the model itself, without the normalisation in front of it."""
    return getattr(network, "model", network)


def submodule(network: nn.Module, name: str) -> nn.Module:
    """Return the layer `name` of the model. Raises `BadSetting`, with the names that there are."""
    known = dict(model_of(network).named_modules())
    known.pop("")
    if name not in known:
        raise BadSetting(f"there is no layer {name}: choose from {', '.join(known)}")
    return known[name]


@torch.no_grad()
def shapes(network: nn.Module, image_shape: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Return the shape of what each layer gives for one image, by the layer's name, in the order in which they run.

    The network is left as it was, the mode of each layer included.
    """
    found: dict[str, tuple[int, ...]] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                found[name] = tuple(output.shape[1:])

        return hook

    named = [(name, module) for name, module in model_of(network).named_modules() if name]
    hooks = [module.register_forward_hook(keep(name)) for name, module in named]
    modes = [(module, module.training) for module in network.modules()]
    device = next((tensor.device for tensor in network.parameters()), torch.device("cpu"))  # a file has none
    try:
        network.eval()(torch.zeros(1, *image_shape, device=device))
    finally:
        for module, training in modes:
            module.training = training
        for hook in hooks:
            hook.remove()
    return found
