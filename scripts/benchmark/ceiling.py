"""What the machine itself can do: dense products, and 3x3 convolutions at the shapes of a network."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

REPETITIONS = 15
Shape = tuple[int, int, int, int, int]  # inputs, outputs, height of the input, kernel, stride


def seconds(work: Callable[[], Any], repetitions: int = REPETITIONS) -> float:
    """Return the median time of `work` after a warm-up."""
    for _ in range(3):
        work()
    times = []
    for _ in range(repetitions):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return median(times)


def matmul_flops(size: int, dtype: torch.dtype) -> float:
    """Return the floating-point operations a second of a square matrix product."""
    matrix = torch.randn(size, size).to(dtype)
    return 2 * size**3 / seconds(lambda: matrix @ matrix)


def convolutions(network: nn.Module, images: Tensor) -> Counter[Shape]:
    """Count the convolutions of `network` by shape, as they run on `images` (n, channels, height, width)."""
    found: Counter[Shape] = Counter()

    def see(module: nn.Conv2d, inputs: tuple[Tensor], _: Tensor) -> None:
        height, kernel, stride = inputs[0].shape[2], module.kernel_size[0], module.stride[0]
        found[module.in_channels, module.out_channels, height, kernel, stride] += 1

    hooks = [m.register_forward_hook(see) for m in network.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        network.eval()(images)
    for hook in hooks:
        hook.remove()
    return found


def convolution(shape: Shape, batch: int, dtype: torch.dtype, first: bool) -> tuple[float, float]:
    """Return seconds and floating-point operations of one convolution, forward and backward, channels last.

    Warm, alone, again and again on the same tensors: nothing in a network can be faster. The `first` convolution
    of a network has no gradient to the images, neither here nor there.
    """
    inputs, outputs, height, kernel, stride = shape
    x = torch.randn(batch, inputs, height, height).to(dtype).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(outputs, inputs, kernel, kernel).to(dtype).contiguous(memory_format=torch.channels_last)
    x.requires_grad_(not first)
    weight.requires_grad_()

    def forward() -> Tensor:
        return F.conv2d(x, weight, stride=stride, padding=kernel // 2)

    y = forward()
    gradient = torch.randn_like(y)
    to = (weight,) if first else (x, weight)
    with torch.no_grad():
        there = seconds(forward)
    back = seconds(lambda: torch.autograd.grad(y, to, gradient, retain_graph=True))
    products = y.numel() * inputs * kernel**2
    return there + back, 2.0 * products * (1 + len(to))


def of_training(network: nn.Module, images: Tensor, dtype: torch.dtype) -> tuple[float, float]:
    """Return seconds and operations that the convolutions of one training step on `images` take by themselves."""
    total, operations = 0.0, 0.0
    for shape, count in convolutions(network, images).items():
        first = shape[0] == images.shape[1]
        time_of_one, operations_of_one = convolution(shape, len(images), dtype, first)
        total += count * time_of_one
        operations += count * operations_of_one
    return total, operations
