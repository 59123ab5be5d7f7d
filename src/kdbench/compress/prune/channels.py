"""Structured pruning: whole channels go, and the network is a smaller one (Li et al. 2017; Fang et al. 2023)."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdbench.compress.fine_tuned import Recalibrated
from kdbench.compress.prune.dependencies import again, graph_of, prunable
from kdbench.compress.resized import macs, resized
from kdbench.compress.step import Examples, Task
from kdbench.compress.trial_run import fault
from kdbench.errors import BadSetting
from kdbench.settings import checks

TRIES = 12  # of the share of channels to keep: a bisection
MULTIPLES = (16, 8, 4, 2, 1)  # of channels, the fastest first: 16 floats fill a register of AVX-512, 8 one of AVX2
NEAR = 0.9  # share of `macs` that a multiple has to come to


@dataclass(frozen=True, kw_only=True)
class Channels(Recalibrated):
    """Remove the same share of the channels of each layer, so that a share of the multiply-adds is left; fine-tune.

    What has to go with a channel (of batch norm, of the layers that read it or are added to it) is found by
    Torch-Pruning (Fang et al. 2023, DepGraph, section 3). A channel counts by the mean over all of these of the sum
    of its squared weights (section 3.3), so that those that nobody reads go first (Li et al. 2017, Pruning Filters,
    section 3.1, has the sum of magnitudes, of a single layer). The layer that gives the logits keeps its outputs, as
    do layers whose channels are padded or cut somewhere, as on the shortcuts of He et al. 2016: their number is fixed
    there. So do grouped convolutions but depthwise ones, and layers that share weights or compute them.
    """

    macs: float  # share of the multiply-adds that is left, in (0, 1]: at most so many
    # Of channels that layers keep; 1: any number, as near to `macs` as they allow; None: the largest of `MULTIPLES`
    # that comes within a tenth of it.
    multiple: int | None

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("compress.macs", self.macs, "(0, 1]")
        if self.multiple is not None:
            checks.whole("compress.multiple", self.multiple, 1)

    def check(self, student: nn.Module, teachers: Sequence[nn.Module], data: Examples) -> None:
        """Raise `BadSetting` if so little cannot be left, or what is left cannot be run or read from a file."""
        self.checked(student, data)

    def __call__(self, model: nn.Module, task: Task) -> nn.Module:
        """Return the smaller network. Raises `BadSetting` as `check` does."""
        pruned = self.checked(model, task.data)
        self.fine_tune(pruned, task)
        return pruned

    def checked(self, model: nn.Module, data: Examples) -> nn.Module:
        """Return the smaller network, which can be made again from the shapes of its weights. Raises as `check`."""
        pruned = self.smaller(model, data.shape)
        reason = fault(pruned, data.shape, data.classes) or fault(again(model, pruned), data.shape, data.classes)
        if reason:
            raise BadSetting(f"compress=prune_structured: with fewer channels the network cannot be run: {reason}")
        return pruned

    def architecture(self, model: nn.Module, shapes: Mapping[str, torch.Size]) -> nn.Module:
        """Return a network of layers as large as the stored ones."""
        return resized(model, shapes)

    def smaller(self, model: nn.Module, shape: Sequence[int]) -> nn.Module:
        """Return the network with as many channels as leave at most `macs`. Raises `BadSetting`."""
        names, most = prunable(model, shape), self.macs * macs(model, shape)
        if not names:
            raise BadSetting("compress=prune_structured finds no layer in the network whose channels can be removed")
        *wider, finest = MULTIPLES if self.multiple is None else (self.multiple,)
        for multiple in wider:
            made = largest(model, names, shape, most, multiple)
            if NEAR * most <= macs(made, shape) <= most:
                return made
        made = largest(model, names, shape, most, finest)
        if macs(made, shape) > most:
            least = math.ceil(1000 * self.macs * macs(made, shape) / most) / 1000
            raise BadSetting(
                f"compress.macs={self.macs:g} cannot be reached: with {finest} in each layer that can lose channels, "
                f"{least:g} of the multiply-adds are left: type that or more"
            )
        return made


def largest(model: nn.Module, names: Sequence[str], shape: Sequence[int], most: float, multiple: int) -> nn.Module:
    """Return the network with the greatest share of channels that leaves at most so many multiply-adds.

    Where even the least leaves more, that.
    """

    def at(share: float) -> nn.Module:
        return without_channels(model, names, shape, share, multiple)

    low, high = 0.0, 2.0
    for _ in range(TRIES):
        middle = (low + high) / 2
        low, high = (middle, high) if macs(at(middle), shape) <= most else (low, middle)
    return at(low)


def without_channels(
    model: nn.Module, names: Sequence[str], shape: Sequence[int], share: float, multiple: int
) -> nn.Module:
    """Return a copy in which the layers `names` keep a share of their channels, the most important ones.

    They are a `multiple` of that, and at least so many.
    """
    import torch_pruning

    pruned = copy.deepcopy(model).cpu().eval()
    graph = graph_of(pruned, shape)
    by_norm = torch_pruning.importance.GroupMagnitudeImportance(p=2)
    going = []
    for name in names:
        layer = pruned.get_submodule(name)
        prune, count = graph.get_pruner_of_module(layer).prune_out_channels, layer.weight.shape[0]
        kept = min(count, max(multiple, round(share * count / multiple) * multiple))
        if kept < count:
            scores: Tensor = by_norm(graph.get_pruning_group(layer, prune, idxs=list(range(count))))
            going.append((layer, prune, scores.argsort(stable=True)[: count - kept].tolist()))
    for layer, prune, channels in going:
        graph.get_pruning_group(layer, prune, idxs=channels).prune()
    return pruned
