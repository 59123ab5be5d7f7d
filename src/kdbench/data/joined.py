"""Several sets of images as one to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from kdbench.data.load import load as load_part
from kdbench.data.splits import Split, Splits
from kdbench.errors import BadSetting
from kdbench.settings.network import data_from_plain


def load(root: Path | None, cache: Path, parts: Sequence[dict[str, Any]], source: Splits) -> Splits:
    """Return the training images of all `parts`, which are descriptions of data sets, one after the other."""
    found = [load_part(data_from_plain(part), source=source)[1] for part in parts]
    shapes = {splits.shape for splits in found}
    if len(shapes) > 1:
        words = " and ".join("x".join(map(str, shape)) for shape in sorted(shapes))
        raise BadSetting(f"compress.transfer joins images of {words}: type only sets whose images are of one shape")
    images = torch.cat([splits.train.images for splits in found])
    labels = torch.cat([splits.train.labels for splits in found])
    most = max(found, key=lambda splits: splits.classes)
    alike = len({tuple(splits.class_names) for splits in found}) == 1
    labelled = alike and all(splits.labelled for splits in found)
    return replace(most, train=Split(images, labels), labelled=labelled)
