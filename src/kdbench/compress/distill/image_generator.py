"""A network that makes images out of noise, and a memory of what it has made."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from kdbench.models.network import Network


class Knobs(Protocol):
    """What decides its shapes: how many images are kept, numbers of noise, and channels."""

    @property
    def kept(self) -> int: ...  # noqa: D102
    @property
    def noise(self) -> int: ...  # noqa: D102
    @property
    def width(self) -> int: ...  # noqa: D102


def normalisation(network: nn.Module) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of the pixels that a network is made for, over all channels: they are a part of it.

    Of one that leaves pixels as they are, those of pixels that are spread evenly.
    """
    first = network[0] if isinstance(network, Network) else None
    if first is None or not first.mean.any():
        return torch.tensor(0.5), torch.tensor(12**-0.5)
    return first.mean.mean(), first.deviation.mean()


class Generator(nn.Module):
    """The generator, and what it has made: images, and the teacher's logits for them.

    `mean` and `deviation` are those of its images' pixels, in every batch. `made` counts the images that there ever
    were, `batches` those that were asked for.
    """

    mean: Tensor
    deviation: Tensor
    images: Tensor
    logits: Tensor
    made: Tensor
    batches: Tensor

    def __init__(
        self, shape: tuple[int, int, int], classes: int, knobs: Knobs, mean: Tensor, deviation: Tensor
    ) -> None:
        super().__init__()
        self.noise = knobs.noise
        self.layers = generator_layers(shape, knobs.noise, knobs.width)
        self.register_buffer("mean", mean.clone())
        self.register_buffer("deviation", deviation.clone())
        self.register_buffer("images", torch.zeros(knobs.kept, *shape, dtype=torch.float16))
        self.register_buffer("logits", torch.zeros(knobs.kept, classes))
        for name in ("made", "batches"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))

    def forward(self, count: int) -> Tensor:
        """Return so many new images, float32 (count, channels, height, width), of real images' mean and deviation."""
        made = self.layers(torch.randn(count, self.noise, device=self.images.device))
        return made * self.deviation + self.mean

    @torch.no_grad()
    def remember(self, images: Tensor, logits: Tensor) -> None:
        """Keep images, and what the teacher says of them, so that all that were ever made are kept alike often.

        The generator moves on to other images, and what it made before must not be forgotten: reservoir sampling
        (Vitter 1985, algorithm R).
        """
        numbers = int(self.made) + torch.arange(len(images), device=images.device)
        drawn = (torch.rand(len(images), device=images.device) * (numbers + 1)).long()
        places = torch.where(numbers < len(self.images), numbers, drawn)
        for image, place in enumerate(places.tolist()):  # one after the other: two may be given one place
            if place < len(self.images):
                self.images[place] = images[image].to(self.images.dtype)
                self.logits[place] = logits[image]
        self.made += len(images)

    def remembered(self, count: int) -> tuple[Tensor, Tensor]:
        """Return so many of the images that are kept, and the teacher's logits for them."""
        filled = min(int(self.made), len(self.images))
        chosen = torch.randint(filled, (count,), device=self.images.device)
        return self.images[chosen].float(), self.logits[chosen]


def generator_layers(shape: tuple[int, int, int], noise: int, width: int) -> nn.Sequential:
    """Return a network from noise (n, `noise`) to images (n, *`shape`): a quarter of the size, enlarged twice.

    Every pixel's mean over images and places is 0, and its deviation 1. After DAFL's, with half of its layers, and
    far fewer channels.
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
        nn.Tanh(),
        nn.BatchNorm2d(channels, affine=False),
    )
