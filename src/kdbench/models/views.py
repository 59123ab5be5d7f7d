"""What of an image a network is shown: its teachers see the whole (Gupta et al. 2016, Cross Modal Distillation).

A view stands in front of the network, and so in the file that ships: whoever is taught and who teaches get the same
images, and each makes of them what it may see.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.errors import BadSetting
from kdbench.settings.network import WHOLE

COARSE = 4  # pixels that are one at low resolution, in each direction
IMAGES_AT_ONCE = 5_000


def edges(images: Tensor) -> Tensor:
    """Return how steeply each channel rises or falls (Sobel), 0 to 1; outside, an image goes on as at its border."""
    around = F.pad(images, (1, 1, 1, 1), mode="replicate")
    rows = around[:, :, :-2] + 2 * around[:, :, 1:-1] + around[:, :, 2:]
    columns = around[..., :-2] + 2 * around[..., 1:-1] + around[..., 2:]
    across, down = rows[..., 2:] - rows[..., :-2], columns[:, :, 2:] - columns[:, :, :-2]
    return ((across.square() + down.square() + 1e-12).sqrt() / 4).clamp(0, 1)  # the root of 0 has no gradient


def low_resolution(images: Tensor) -> Tensor:
    """Return means of squares of `COARSE` pixels, each shown as large as they were."""
    means = F.avg_pool2d(images, COARSE)
    return means.repeat_interleave(COARSE, 2).repeat_interleave(COARSE, 3)


def upper_half(images: Tensor) -> Tensor:
    """Return the upper half, above black."""
    height = images.shape[2] // 2
    return F.pad(images[:, :, :height], (0, 0, 0, images.shape[2] - height))


def one_bit(images: Tensor) -> Tensor:
    """Return black where a pixel is below the middle, and else white.

    Its gradient is that of leaving pixels as they are (straight through, Bengio et al. 2013): attacks need one.
    """
    bits = (images > 0.5).to(images.dtype)
    return images + (bits - images).detach() if images.requires_grad else bits


VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "edges": edges,
    "low_resolution": low_resolution,
    "upper_half": upper_half,
    "one_bit": one_bit,
}


class ImageView(nn.Module):
    """Images float32 (batch, channels, height, width) in [0, 1] to what is seen of them, of the same shape."""

    def __init__(self, name: str, shape: tuple[int, int, int]) -> None:
        super().__init__()
        if name == "low_resolution" and (shape[1] % COARSE or shape[2] % COARSE):
            raise BadSetting(
                f"view={name} shows squares of {COARSE} pixels, which images of {shape[1]}x{shape[2]} are not made "
                f"of: choose another view, or a size that {COARSE} divides"
            )
        self.name = name

    def forward(self, images: Tensor) -> Tensor:
        """Return what is seen."""
        return VIEWS[self.name](images)

    def extra_repr(self) -> str:
        """Return what distinguishes it from others."""
        return self.name


def view(name: str, shape: tuple[int, int, int]) -> ImageView | None:
    """Return the view of a name; None where all is seen. Raises `BadSetting` if the images cannot give it."""
    return None if name == WHOLE else ImageView(name, shape)


def statistics(images: Tensor, seen: ImageView) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return means and deviations, a channel at a time, of what is seen of images, uint8 (n, channels, ...)."""
    sums = torch.zeros(2, images.shape[1], dtype=torch.float64)
    for part in images.split(IMAGES_AT_ONCE):
        shown = seen(part.float() / 255).double()
        sums += torch.stack([shown.sum((0, 2, 3)), shown.square().sum((0, 2, 3))])
    means, squares = sums / (images.numel() / images.shape[1])
    deviations = (squares - means.square()).clamp_min(1e-12).sqrt()
    return tuple(means.tolist()), tuple(deviations.tolist())
