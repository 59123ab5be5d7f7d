"""Kuzushiji-MNIST (Clanuwat et al. 2018): 55,000 / 5,000 / 10,000 cursive hiragana, split and shaped like MNIST."""

from __future__ import annotations

from pathlib import Path

from kdbench.data import published
from kdbench.data.fashion_mnist import FASHION_MNIST
from kdbench.data.idx import LikeMNIST
from kdbench.data.mnist import MNIST
from kdbench.data.splits import Splits

KMNIST = LikeMNIST(
    torchvision_name="KMNIST",
    class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    sha256={  # of the gzipped files, as TensorFlow Datasets has them; of what they hold none are published
        "train-images-idx3-ubyte": "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        "train-labels-idx1-ubyte": "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        "t10k-images-idx3-ubyte": "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        "t10k-labels-idx1-ubyte": "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
    },
    packed=True,
    namesakes=frozenset((*MNIST.sha256.values(), *FASHION_MNIST.sha256.values())),
)


def load(root: Path | None, cache: Path) -> Splits:
    """Return the splits; see `published.load` for what is raised."""
    return published.load(KMNIST, root, cache)
