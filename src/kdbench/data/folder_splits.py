"""Which pictures of a folder are for training, for validation and for the test: by what they show alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from kdbench.data.suitable import of_classes
from kdbench.errors import BadSetting

# What is taken, a tenth of a class each, from which split; the rest stays. "" is a folder that is not split.
TENTHS = {"": ("val", "test"), "train": ("val",)}


def divided(
    splits: Sequence[str], labels: Sequence[int], digests: Sequence[bytes], class_names: Sequence[str]
) -> list[str]:
    """Return the split of each picture: `train`, `val` or `test`.

    `splits` are those that the folder gives (see `folder_index.File`), `digests` the SHA-256 of the files. A folder
    without splits is divided 80/10/10 and one without `val` gives a tenth of `train` to it, within each class in the
    order of the digests: so names and times decide nothing, and equal pictures of a class stay together. Each part
    gets at least one. Raises `BadSetting` if a class has too few different pictures for that.
    """
    given = sorted(set(splits))
    parted = "" if "" in given else "train"  # what others take a part of
    wanted = () if "val" in given else TENTHS[parted]
    different: dict[tuple[str, int], set[bytes]] = defaultdict(set)
    for split, label, digest in zip(splits, labels, digests, strict=True):
        different[split, label].add(digest)
    for split in given:
        needed = 1 + len(wanted) if split == parted else 1
        few = [name for label, name in enumerate(class_names) if len(different[split, label]) < needed]
        if few:
            found = f"in {split} there are" if split else "there are"
            raise BadSetting(f"{found} fewer than {needed} different pictures of {of_classes(few)}: add some")
    chosen = {}
    for label in range(len(class_names)):
        rest = sorted(different[parted, label])
        tenth = max(1, (len(rest) + 5) // 10)
        for part in reversed(wanted):
            chosen |= {(label, digest): part for digest in rest[-tenth:]}
            rest = rest[:-tenth]
    return [
        chosen.get((label, digest), "train") if split == parted else split
        for split, label, digest in zip(splits, labels, digests, strict=True)
    ]
