"""Fashion-MNIST (Xiao et al. 2017): 55,000 / 5,000 / 10,000 articles of clothing, split and shaped like MNIST."""

from __future__ import annotations

from pathlib import Path

from kdbench.data import published
from kdbench.data.mnist import MNIST
from kdbench.data.published import Publication
from kdbench.data.splits import Splits

# Its authors publish MD5 sums of the gzipped files; these are of the same files, as TensorFlow Datasets has them.
FASHION_MNIST = Publication(
    "FashionMNIST",
    {
        "train-images-idx3-ubyte": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
    class_names=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    packed=True,
    namesakes=frozenset(MNIST.sha256.values()),
)


def load(root: Path | None, cache: Path) -> Splits:
    """Return the splits; see `published.load` for what is raised."""
    return published.load(FASHION_MNIST, root, cache)
