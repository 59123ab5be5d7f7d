"""Numbers rounded to the steps of a grid, with gradients as if they were not."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

hardtanh_backward = torch.ops.aten.hardtanh_backward  # a gradient, and 0 where the second lies beyond the ends


class Rounded(torch.autograd.Function):
    """Numbers to the nearest step of a grid from `low` to `high`, in whatever precision they come.

    Gradients go through as if there were no rounding (the straight-through estimator, Bengio et al. 2013), and not
    beyond the ends.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: Tensor, low: float, high: float) -> Tensor:
        """Return `scale clamp(round(values / scale), low, high)`, of one scale."""
        if ctx.needs_input_grad[0]:
            one = float(scale)
            ctx.ends = (low - 0.5) * one, (high + 0.5) * one
            ctx.save_for_backward(values)
        return values.mul(1 / scale).round_().clamp_(low, high).mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        """Return the gradient where nothing was cut off."""
        (values,) = ctx.saved_tensors
        return hardtanh_backward(gradient, values, *ctx.ends), None, None, None


class RoundedToGreatest(torch.autograd.Function):
    """The same of scales that make the greatest number the end of the grid, so that nothing is cut off."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: Tensor) -> Tensor:
        """Return `scale round(values / scale)`."""
        return values.mul(1 / scale).round_().mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Return the gradient."""
        return gradient, None


class LearnedRounded(torch.autograd.Function):
    """`Rounded` with a gradient to the scale, times `share` (Esser et al. 2020, LSQ, equations 3 and 5)."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: Tensor, low: float, high: float, share: float) -> Tensor:
        """Return `scale clamp(round(values / scale), low, high)`."""
        exact = values.mul(1 / scale)
        whole = exact.clamp(low, high).round_()
        within = hardtanh_backward(exact, exact, low, high)  # 0 beyond the ends
        # What one more of the scale adds to the result: the end that cuts it off, or by how much it was rounded.
        ctx.save_for_backward(exact, whole - within, scale)
        ctx.ends, ctx.share = (low, high), share
        return whole.mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        """Return the gradients to the values and to the scale."""
        exact, slope, scale = ctx.saved_tensors
        to_scale = (slope.mul_(gradient)).sum_to_size(scale.shape).to(scale.dtype) * ctx.share
        return hardtanh_backward(gradient, exact, *ctx.ends), to_scale, None, None, None


def rounded_to(precision: torch.dtype, scale: Tensor) -> Tensor:
    """Return positive numbers as `precision` has them, in float32; gradients go through as if that were nothing.

    None is below its smallest normal number (of float16 6.1e-5): smaller ones are too coarse for whole numbers to end
    at the greatest weight.
    """
    rounded = scale.detach().to(precision).clamp_min(torch.finfo(precision).tiny).float()
    return scale + (rounded - scale.detach())
