"""A network that makes images out of noise, and a memory of what it has made."""

from __future__ import annotations

import math

import torch
from scipy.optimize import brentq
from scipy.stats import multivariate_normal
from torch import Tensor, nn

from kdbench.models.network import Network
from kdbench.training.batches import windows


def normalisation(*networks: nn.Module) -> tuple[float, float]:
    """Return mean and deviation of the pixels that a network is made for, over all channels: they are a part of it.

    Of the first of `networks` that sees the whole image, and does not leave pixels as they are; else those of pixels
    that are spread evenly.
    """
    whole = [network for network in networks if isinstance(network, Network) and network.view is None]
    for first in (network[0] for network in whole):
        if first.mean.any():
            return float(first.mean.mean()), float(first.deviation.mean())
    return 0.5, 12**-0.5


class Pixels(nn.Module):
    """From standard normal numbers to pixels in [0, 1] of a given mean and deviation.

    A pixel is `Phi((t + sqrt(rho) h) / sqrt(1 - rho))` with `Phi(t) = mean`, and `rho` such that
    `Phi2(t, t; rho) - mean^2 = deviation^2`, where Phi2 is the distribution of two normal numbers of correlation rho
    (Vasicek 2002, The distribution of loan portfolio value). No pixels in [0, 1] deviate by more than
    `sqrt(mean (1 - mean))`: who asks for that gets nearly black and white.
    """

    def __init__(self, mean: float, deviation: float) -> None:
        super().__init__()
        mean = min(max(mean, 0.01), 0.99)
        threshold = float(torch.special.ndtri(torch.tensor(mean, dtype=torch.float64)))

        def too_far(rho: float) -> float:
            both = multivariate_normal([0, 0], [[1, rho], [rho, 1]]).cdf([threshold, threshold])
            return float(both) - mean**2 - deviation**2

        least, most = 1e-3, 0.999
        rho = most if too_far(most) < 0 else least if too_far(least) > 0 else brentq(too_far, least, most)
        self.slope = math.sqrt(rho / (1 - rho))
        self.start = threshold / math.sqrt(1 - rho)

    def forward(self, numbers: Tensor) -> Tensor:
        """Return pixels, of the shape that was given."""
        return torch.special.ndtr(self.slope * numbers + self.start)


class Generator(nn.Module):
    """The generator, and the images that it has made, of which some are kept.

    Their pixels have about `mean` and `deviation`. `noise` numbers make one, through `width` channels; `kept` of them
    are remembered, and moved by up to `shift` pixels. `made` counts the images that there ever were, `batches` those
    that were asked for.
    """

    images: Tensor
    made: Tensor
    batches: Tensor

    def __init__(
        self,
        shape: tuple[int, int, int],
        mean: float,
        deviation: float,
        *,
        noise: int,
        width: int,
        kept: int,
        shift: int,
    ) -> None:
        super().__init__()
        self.noise = noise
        self.shift = shift
        self.layers = generator_layers(shape, noise, width).append(Pixels(mean, deviation))
        self.register_buffer("images", torch.zeros(kept, *shape, dtype=torch.float16))
        for name in ("made", "batches"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))

    def forward(self, count: int) -> Tensor:
        """Return so many new images, float32 (count, channels, height, width) in [0, 1]."""
        made: Tensor = self.layers(torch.randn(count, self.noise, device=self.images.device))
        return made

    @torch.no_grad()
    def remember(self, images: Tensor) -> None:
        """Keep images, so that all that were ever made are kept alike often.

        The generator moves on to other images, and what it made before must not be forgotten: reservoir sampling
        (Vitter 1985, algorithm R).
        """
        numbers = int(self.made) + torch.arange(len(images), device=images.device)
        drawn = (torch.rand(len(images), device=images.device) * (numbers + 1)).long()
        places = torch.where(numbers < len(self.images), numbers, drawn)
        for image, place in enumerate(places.tolist()):  # one after the other: two may be given one place
            if place < len(self.images):
                self.images[place] = images[image].to(self.images.dtype)
        self.made += len(images)

    def remembered(self, count: int) -> Tensor:
        """Return so many of the images that are kept, each moved by up to `shift` pixels in x and y."""
        filled = min(int(self.made), len(self.images))
        chosen = self.images[torch.randint(filled, (count,), device=self.images.device)].float()
        dy, dx = torch.randint(2 * self.shift + 1, (2, count), device=self.images.device)
        return windows(chosen, self.shift)[torch.arange(count, device=self.images.device), dy, dx]


def generator_layers(shape: tuple[int, int, int], noise: int, width: int) -> nn.Sequential:
    """Return a network from noise (n, `noise`) to numbers (n, *`shape`): a quarter of the size, enlarged twice.

    Of each channel the mean over images and places is 0, and the deviation 1. After DAFL's, with half of its layers,
    and far fewer channels.
    """
    channels, height, width_of_images = shape
    start = (-(-height // 4), -(-width_of_images // 4))
    return nn.Sequential(
        nn.Linear(noise, 2 * width * start[0] * start[1]),
        nn.Unflatten(1, (2 * width, *start)),
        nn.BatchNorm2d(2 * width),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(2 * width, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Upsample(size=(height, width_of_images)),
        nn.Conv2d(width, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels, affine=False),
    )
