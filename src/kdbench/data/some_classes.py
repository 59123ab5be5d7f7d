"""The training set without some of its classes (Hinton et al. 2015, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from kdbench.data.splits import Splits
from kdbench.errors import BadSetting
from kdbench.settings import checks


def load(
    root: Path | None, cache: Path, keep: Sequence[object] | None, leave_out: Sequence[object] | None, source: Splits
) -> Splits:
    """Return `source` with training images of the classes to `keep` alone, or without those to `leave_out`.

    Both are names of classes. Validation and test stay whole. Raises `BadSetting` for others, and if none is left.
    """
    if (keep is None) == (leave_out is None):
        raise BadSetting("compress.transfer=some_classes: type {data:some_classes,leave_out:[3]}, or keep:[3]")
    knob, value = ("keep", keep) if keep is not None else ("leave_out", leave_out)
    checks.several(f"compress.transfer: {knob}", value, "3")
    named = [str(name) for name in value or ()]
    for name in named:
        if name not in source.class_names:
            raise BadSetting(
                f"compress.transfer: there is no class {name}: choose from {', '.join(source.class_names)}"
            )
    numbers = torch.tensor([source.class_names.index(name) for name in named])
    chosen = torch.isin(source.train.labels, numbers) == (keep is not None)
    if not chosen.any():
        raise BadSetting("compress.transfer=some_classes leaves no image to learn from")
    return replace(source, train=source.train[chosen.nonzero().flatten()])
