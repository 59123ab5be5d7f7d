"""Several networks of one architecture as one: stacked parameters, run side by side by `torch.func.vmap`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.overrides import TorchFunctionMode

from kdbench.training.features import Output, in_float32, run
from kdbench.training.runtime import Runtime

# The operations of our models that autocast runs in low precision.
LOW_PRECISION = {F.linear, F.conv1d, F.conv2d, F.conv3d, torch.matmul, torch.bmm, torch.mm}


class Stacked:
    """`models` made one: calling it with the images (n, channels, height, width) of each gives the output of each.

    What a small network leaves idle on a large GPU, its neighbours use. Afterwards the parameters and buffers of
    `models` are views into the stacked ones: training these trains those, and what changes those in place (pruning
    masks) changes these. Each network's logits and gradients are those it has alone, up to rounding; parameters of
    `models` have their gradients after `share_gradients`.
    """

    def __init__(self, models: Sequence[nn.Module], runtime: Runtime) -> None:
        self.runtime = runtime
        self.stacked, self.buffers = stack_module_state(list(models))
        for position, model in enumerate(models):
            for path, module in model.named_modules():
                prefix = f"{path}." if path else ""
                for name, parameter in module.named_parameters(recurse=False):
                    parameter.data = self.stacked[prefix + name].data[position]
                for name, _ in module.named_buffers(recurse=False):
                    module._buffers[name] = self.buffers[prefix + name][position]
        self.template = copy.deepcopy(models[0]).to("meta")
        self.owners = {name: [model.get_parameter(name) for model in models] for name in self.stacked}

    def parameters(self) -> list[Tensor]:
        """Return what an optimiser trains: each parameter of the architecture, (networks, ...)."""
        return list(self.stacked.values())

    def part(self, stacked: Tensor, position: int) -> Tensor:
        """Return what of a stacked tensor belongs to the network at `position`: a view."""
        return stacked[position]

    def share_gradients(self) -> None:
        """Give each network its part of the gradients of the last `backward`: views of the stacked ones."""
        for name, own in self.owners.items():
            gradient = self.stacked[name].grad
            for position, parameter in enumerate(own):
                parameter.grad = None if gradient is None else gradient[position]

    def train(self) -> None:
        """Switch to train mode."""
        self.template.train()

    def __call__(self, images: Sequence[Tensor]) -> list[Output]:
        """Return the logits of each; features are only to be had from one network alone."""
        with UnderVmap(self.runtime.precision == "bf16"):
            logits = torch.vmap(self._one)(self.stacked, self.buffers, torch.stack(list(images)))
        return [in_float32(Output(own)) for own in logits]

    def _one(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor) -> Tensor:
        return functional_call(self.template, (parameters, buffers), (images,))


class Alone:
    """One network under the interface of `Stacked`."""

    def __init__(self, model: nn.Module, runtime: Runtime, layers: Sequence[str] = ()) -> None:
        self.model = model
        self.runtime = runtime
        self.layers = layers
        self.train = model.train

    def parameters(self) -> list[Tensor]:
        """Return what an optimiser trains."""
        return list(self.model.parameters())

    def part(self, own: Tensor, position: int) -> Tensor:
        """Return the tensor itself, which belongs to the one network there is."""
        return own

    def share_gradients(self) -> None:
        """Do nothing: the network has its gradients."""

    def __call__(self, images: Sequence[Tensor]) -> list[Output]:
        """Return the output for the images (n, channels, height, width), each in a list of one."""
        with self.runtime.autocast:
            return [in_float32(run(self.model, images[0], self.layers))]


class UnderVmap(TorchFunctionMode):
    """What `vmap` does not see or cannot do: `torch.autocast`, if `low_precision`, and batch norm on a GPU."""

    def __init__(self, low_precision: bool) -> None:
        super().__init__()
        self.low_precision = low_precision

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is F.batch_norm:
            return batch_norm(*args, **(kwargs or {}))
        if self.low_precision and function in LOW_PRECISION:
            args = [low(argument) for argument in args]
            kwargs = {name: low(argument) for name, argument in (kwargs or {}).items()}
        return function(*args, **(kwargs or {}))


def batch_norm(
    images: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Return what `F.batch_norm` does, which on a GPU asks whether the channels lie last, as `vmap` does not know.

    Low precision in and out, float32 within: under `vmap` torch refuses to mix the two itself.
    """
    if training and images.numel() == images.shape[1]:
        raise ValueError("batch norm needs more than one value of each channel to train on")
    precise = images.float() if images.dtype == torch.bfloat16 else images
    normal, _, _ = torch.native_batch_norm(precise, weight, bias, mean, variance, training, momentum, eps)
    return normal.to(images.dtype)


def low(argument: Any) -> Any:
    """Return float32 tensors in bf16, and anything else as it is."""
    return argument.bfloat16() if isinstance(argument, Tensor) and argument.dtype == torch.float32 else argument


def stackable(models: Sequence[nn.Module]) -> bool:
    """Whether `models` can be trained as one: all alike, and of layers that `vmap` can run.

    No dropout, whose randomness they would share, and no layer that says of itself `supports_vmap = False`.
    """
    if len(models) < 2:
        return False
    shapes = [(repr(model), {name: tensor.shape for name, tensor in model.state_dict().items()}) for model in models]
    layers = [*models[0].modules()]
    possible = not any(map(draws, layers)) and all(getattr(layer, "supports_vmap", True) for layer in layers)
    return possible and all(shape == shapes[0] for shape in shapes)


def draws(layer: nn.Module) -> bool:
    """Whether a layer is dropout, of single values or (torchvision's) of whole branches."""
    return isinstance(layer, nn.modules.dropout._DropoutNd) or type(layer).__name__ == "StochasticDepth"
