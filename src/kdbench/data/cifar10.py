"""CIFAR-10: 45,000 / 5,000 / 10,000 photographs of 3 x 32 x 32 in ten classes."""

from __future__ import annotations

from pathlib import Path

from kdbench.data import published
from kdbench.data.cifar import CIFAR
from kdbench.data.splits import Splits

CIFAR10 = CIFAR(
    torchvision_name="CIFAR10",
    class_names=(
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ),
    batches="cifar-10-batches-py",
    labels="labels",
    md5={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    },
)


def load(root: Path | None, cache: Path) -> Splits:
    """Return the splits; see `published.load` for what is raised."""
    return published.load(CIFAR10, root, cache)
