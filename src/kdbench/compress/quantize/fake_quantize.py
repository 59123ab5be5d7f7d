"""Layers and activations on grids while a network trains, and how they are exported: as Q and DQ of ONNX."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kdbench.compress.quantize.rounding import LearnedRounded, Rounded, RoundedToGreatest, rounded_to

HIGHEST = 255  # of whole activations: uint8
SMALLEST = 1e-8  # scale: of an output all of whose weights are 0


@torch.library.custom_op("kdbench::grid", mutates_args=())
def grid(values: Tensor, scale: Tensor, zero: Tensor, axis: int, largest: int) -> Tensor:
    """Stand for Q and DQ in an exported graph: uint8 with a zero, or int8 by a scale for each index along `axis`.

    Whole numbers beyond `largest`, of either sign, are cut off; 0: nothing is but what their type cannot hold.
    """
    raise NotImplementedError("it is exported, and never run")


@grid.register_fake
def _(values: Tensor, scale: Tensor, zero: Tensor, axis: int, largest: int) -> Tensor:
    return torch.empty_like(values)


def exported_grid(values: Any, scale: Any, zero: Any, axis: int, largest: int) -> Any:
    """Write `grid` with the operators of ONNX: for torch's exporter."""
    from onnxscript import opset20 as op

    whole = op.QuantizeLinear(values, scale, zero, axis=axis)
    if largest:
        ends = [op.CastLike(op.Constant(value_int=end), zero) for end in (-largest, largest)]
        whole = op.Clip(whole, *ends)
    return op.DequantizeLinear(whole, scale, zero, axis=axis)


TRANSLATION: dict[Any, Any] = {torch.ops.kdbench.grid.default: exported_grid}


class Activations(nn.Module):
    """Activations on a grid of 256 steps: `scale (whole - zero)`, `whole` from 0 to 255.

    While it `watches`, it lets numbers through, and widens its range to them; `settle` fixes the grid. Its scale is
    trained on if it is `learned`.
    """

    supports_vmap: ClassVar[bool] = False  # it reads its zero as a number, which vmap has not

    low: Tensor
    high: Tensor
    zero: Tensor
    scale: Tensor

    def __init__(self, learned: bool) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.register_buffer("zero", torch.zeros((), dtype=torch.uint8))
        hold_scale(self, torch.ones(()), learned)
        self.learned = learned
        self.watches = False

    def settle(self) -> None:
        """Fix the grid by what was seen, 0 included: it is a step of its own."""
        self.watches = False
        width = max(float(self.high - self.low), 1e-6)
        self.scale.data.fill_(width / HIGHEST)
        self.zero.fill_(round(-float(self.low) / width * HIGHEST))

    def forward(self, values: Tensor) -> Tensor:
        """Return numbers of the same shape, on the grid."""
        if torch.compiler.is_exporting():
            return grid(values, self.scale, self.zero, 1, 0)
        if self.watches:
            self.low = torch.minimum(self.low, values.detach().float().min())
            self.high = torch.maximum(self.high, values.detach().float().max())
            return values
        low = -float(self.zero)
        if not self.learned:
            return Rounded.apply(values, self.scale, low, low + HIGHEST)
        keep_positive(self.scale)
        share = 1 / math.sqrt(values[0].numel() * HIGHEST)  # of the features of one image (LSQ, section 2.2)
        return LearnedRounded.apply(values, self.scale, low, low + HIGHEST, share)


def hold_scale(module: nn.Module, scale: Tensor, learned: bool) -> None:
    """Let a module have a `scale`: a parameter if it is learned, and else none, which is not counted as one."""
    if learned:
        module.scale = nn.Parameter(scale)
    else:
        module.register_buffer("scale", scale)


def keep_positive(scale: Tensor) -> None:
    """Put a scale that a step of its training took to 0 or below back, in place: a file has none of these."""
    scale.data.clamp_(min=SMALLEST)


class Weights(nn.Module):
    """Weights of an output as whole numbers from `-largest` to `largest` times a scale of its own.

    The scale is the greatest weight over `largest`, anew at every step; or it is `learned`, from
    `2 mean |w| / sqrt(largest)` on (Esser et al. 2020, LSQ, section 2.1). It is rounded to what `scales` can hold:
    float16, as it is stored beside weights that are multiplied out; or bfloat16, a float32 whose lower two bytes are
    0, as DequantizeLinear has it: for they pack to nothing.
    """

    supports_vmap: ClassVar[bool] = False  # it puts a new scale into the module as it runs

    scale: Tensor

    def __init__(self, weight: Tensor, bits: int, learned: bool, scales: torch.dtype) -> None:
        super().__init__()
        self.largest = 2 ** (bits - 1) - 1
        self.learned = learned
        self.scales = scales
        rows = weight.detach().abs().flatten(1)
        start = 2 * rows.mean(1) / math.sqrt(self.largest) if learned else rows.amax(1) / self.largest
        hold_scale(self, start.clamp_min(SMALLEST), learned)
        self.register_buffer("zero", torch.zeros(len(weight), dtype=torch.int8))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weights (outputs, ...) on their grid."""
        if not self.learned:
            rows = weight.detach().flatten(1)
            greatest = torch.maximum(rows.amax(1), -rows.amin(1))  # without a tensor of all absolute values
            self.scale.data = (greatest / self.largest).clamp_min(SMALLEST)
        if torch.compiler.is_exporting():
            return grid(weight, self.scale, self.zero, 0, self.largest)
        if self.learned:
            keep_positive(self.scale)
        scale = rounded_to(self.scales, self.scale).view(-1, *(1,) * (weight.dim() - 1))
        if not self.learned:
            return RoundedToGreatest.apply(weight, scale)
        share = 1 / math.sqrt(weight[0].numel() * self.largest)
        return LearnedRounded.apply(weight, scale, -self.largest, self.largest, share)


class Convolution(nn.Conv2d):
    """A convolution whose weights lie on a grid."""

    on_grid: Weights

    def forward(self, values: Tensor) -> Tensor:
        """Return what the convolution gives."""
        return self._conv_forward(values, self.on_grid(self.weight), self.bias)


class Linear(nn.Linear):
    """A linear layer whose weights lie on a grid."""

    on_grid: Weights

    def forward(self, values: Tensor) -> Tensor:
        """Return what the layer gives."""
        return nn.functional.linear(values, self.on_grid(self.weight), self.bias)
