"""What pruning of single weights has in common, whenever and by whatever it chooses them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from kdbench.compress.layers import weight_names
from kdbench.compress.step import Examples, NetworkStep
from kdbench.errors import BadSetting
from kdbench.training.constraints import KeepZeros


class Unstructured(NetworkStep):
    """Zeroes weights of linear and convolutional layers, which stay zero in later steps."""

    def check(self, student: nn.Module, teachers: Sequence[nn.Module], data: Examples) -> None:
        """Raise `BadSetting` for a network without weights that can be pruned."""
        if not weight_names(student):
            raise BadSetting(
                "the network has no weights to prune: they are looked for in layers of nn.Linear and nn.Conv1d to "
                "nn.Conv3d whose weight is a parameter of its own"
            )

    def constraint(self, network: nn.Module) -> KeepZeros:
        """Return that what is zero stays zero."""
        return KeepZeros.of(network, weight_names(network))
