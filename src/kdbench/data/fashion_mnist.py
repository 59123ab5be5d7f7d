"""Fashion-MNIST (Xiao et al. 2017): 55,000 / 5,000 / 10,000 articles of clothing, split and shaped like MNIST."""

from __future__ import annotations

from pathlib import Path

from kdbench.data import published
from kdbench.data.idx import LikeMNIST
from kdbench.data.mnist import MNIST
from kdbench.data.splits import Splits

# Its authors publish MD5 sums of the gzipped files. These are of what those hold, so that files whose gzip headers
# were stripped, as Debian's package has them, are known as well.
FASHION_MNIST = LikeMNIST(
    torchvision_name="FashionMNIST",
    class_names=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    sha256={
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
    namesakes=frozenset(MNIST.sha256.values()),
    places=(Path("/usr/share/datasets/fashion-mnist"),),  # Debian's package dataset-fashion-mnist
)


def load(root: Path | None, cache: Path) -> Splits:
    """Return the splits; see `published.load` for what is raised."""
    return published.load(FASHION_MNIST, root, cache)
