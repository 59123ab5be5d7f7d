"""How pixels are normalised: the setting `normalise` as typed, and what it stands for. Imports no torch."""

from __future__ import annotations

import math
import re

from kdbench.errors import BadSetting

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Means and standard deviations of pixels in [0, 1]: one for each channel, or one for all."""

DATA = "data"  # the statistics of the training images
NAMED: dict[str, Statistics] = {
    # Of ImageNet's training images, as torchvision's weights expect them (torchvision.transforms.Normalize there).
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "none": ((0.0,), (1.0,)),
}


def statistics(typed: str) -> Statistics | None:
    """Return the numbers that `typed` stands for; None where the data decide. Raises `BadSetting`.

    That is `data`, `imagenet`, `none`, or MEANS/DEVIATIONS of all channels (`0.5/0.25`) or of each
    (`0.5,0.5,0.5/0.2,0.2,0.2`).
    """
    if typed == DATA or typed in NAMED:
        return NAMED.get(typed)
    parts = [part.split(",") for part in str(typed).split("/")]
    try:
        means, deviations = (tuple(map(float, part)) for part in parts)
        if (
            len(means) != len(deviations)
            or not all(map(math.isfinite, (*means, *deviations)))
            or min(deviations) <= 0
        ):
            raise ValueError
    except ValueError as error:
        raise BadSetting(
            f"normalise={typed} is none of {DATA}, {', '.join(NAMED)} and MEANS/DEVIATIONS such as 0.5/0.25 or "
            "0.5,0.5,0.5/0.2,0.2,0.2"
        ) from error
    return means, deviations


def looks_like_numbers(typed: str) -> bool:
    """Whether `typed` is one MEANS/DEVIATIONS, in which a comma does not part the values of a multirun."""
    return re.fullmatch(r"[\d.,eE+ -]+/[\d.,eE+ -]+", typed) is not None
