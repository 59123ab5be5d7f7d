"""Structured pruning: whole channels go, and the network is a smaller one (Li et al. 2017; Fang et al. 2023)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kdbench.compress.fine_tuned import Recalibrated
from kdbench.compress.layers import WEIGHTED
from kdbench.compress.resized import macs, resized
from kdbench.compress.step import Examples, Task
from kdbench.errors import BadSetting
from kdbench.settings import checks

TRIES = 12  # of the share of channels to keep: a bisection
MULTIPLES = (16, 8, 4, 2, 1)  # of channels, the fastest first: 16 floats fill a register of AVX-512, 8 one of AVX2
NEAR = 0.9  # share of `macs` that a multiple has to come to


@dataclass(frozen=True, kw_only=True)
class Channels(Recalibrated):
    """Remove the same share of the channels of each layer, so that a share of the multiply-adds is left; fine-tune.

    What has to go with a channel (of batch norm, of the layers that read it or are added to it) is found by
    Torch-Pruning (Fang et al. 2023, DepGraph, section 3). A channel counts by the mean over all of these of the norm
    of its weights (section 3.3), so that those that nobody reads go first (Li et al. 2017, Pruning Filters, section
    3.1, is the same for a single layer). The layer that gives the logits keeps its outputs, as do layers whose
    channels are padded or cut somewhere, as on the shortcuts of He et al. 2016: their number is fixed there.
    """

    macs: float  # share of the multiply-adds that is left, in (0, 1]: at most so many
    # Of channels that layers keep; 1: any number, as near to `macs` as they allow; None: the largest of `MULTIPLES`
    # that comes within a tenth of it.
    multiple: int | None

    changes_shapes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("compress.macs", self.macs, "(0, 1]")
        if self.multiple is not None:
            checks.whole("compress.multiple", self.multiple, 1)

    def check(self, student: nn.Module, teachers: Sequence[nn.Module], data: Examples) -> None:
        """Raise `BadSetting` if so little cannot be left: a whole layer would have to go."""
        self.smaller(student, data.shape)

    def __call__(self, model: nn.Module, task: Task) -> nn.Module:
        """Return the smaller network. Raises `BadSetting` as `check` does."""
        pruned = self.smaller(model, task.data.shape)
        self.fine_tune(pruned, task)
        return pruned

    def architecture(self, model: nn.Module, shapes: Mapping[str, torch.Size]) -> nn.Module:
        """Return a network of layers as large as the stored ones."""
        return resized(model, shapes)

    def smaller(self, model: nn.Module, shape: Sequence[int]) -> nn.Module:
        """Return the network with as many channels as leave at most `macs`. Raises `BadSetting`."""
        names, most = prunable(model, shape), self.macs * macs(model, shape)
        *wider, finest = MULTIPLES if self.multiple is None else (self.multiple,)
        for multiple in wider:
            made = largest(model, names, shape, most, multiple)
            if NEAR * most <= macs(made, shape) <= most:
                return made
        made = largest(model, names, shape, most, finest)
        if macs(made, shape) > most:
            least = self.macs * macs(made, shape) / most
            raise BadSetting(
                f"compress.macs={self.macs:g} would remove a whole layer: with {finest} channels in each, "
                f"{least:.3g} of the multiply-adds are left"
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


def graph_of(network: nn.Module, shape: Sequence[int]) -> Any:
    """Return which channels depend on which."""
    import torch_pruning

    return torch_pruning.DependencyGraph().build_dependency(network, example_inputs=torch.rand(2, *shape))


def prunable(model: nn.Module, shape: Sequence[int]) -> list[str]:
    """Return the names of layers whose channels can go, one of all that must go together; not the last."""
    network = copy.deepcopy(model).cpu().eval()
    graph = graph_of(network, shape)
    *layers, _ = [name for name, module in network.named_modules() if isinstance(module, WEIGHTED)]
    found: list[str] = []
    seen: set[nn.Module] = set()
    for name in layers:
        layer = network.get_submodule(name)
        if layer in seen or layer.weight.shape[0] < 2:
            continue
        prune = graph.get_pruner_of_module(layer).prune_out_channels
        group = graph.get_pruning_group(layer, prune, idxs=[0])
        seen |= {dependency.target.module for dependency, _ in group if dependency.handler == prune}
        if can_go(network, name, shape):
            found.append(name)
    return found


def can_go(network: nn.Module, name: str, shape: Sequence[int]) -> bool:
    """Whether the network still gives as many logits once a channel of a layer is gone."""
    trial, images = copy.deepcopy(network), torch.rand(2, *shape)
    graph, layer = graph_of(trial, shape), trial.get_submodule(name)
    logits = trial(images).shape
    try:
        graph.get_pruning_group(layer, graph.get_pruner_of_module(layer).prune_out_channels, idxs=[0]).prune()
        return bool(trial(images).shape == logits)
    except (RuntimeError, ValueError, IndexError):
        return False
