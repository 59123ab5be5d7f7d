"""N:M sparsity: of every M inputs in a row, N stay (Mishra et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdbench.compress.layers import weights
from kdbench.compress.prune import masks
from kdbench.compress.prune.one_shot import OneShot
from kdbench.compress.step import Examples, Task
from kdbench.errors import BadSetting
from kdbench.settings import checks
from kdbench.training import features


@dataclass(frozen=True, kw_only=True)
class NOfM(OneShot):
    """Keep the largest `n` of every `m` weights, along the inputs of each output.

    Mishra et al. 2021 (Accelerating Sparse Deep Neural Networks, sections 3 and 4), who have 2 of 4, the form that
    GPUs multiply at twice the speed. Along the channels in convolutions, at each place of the kernel.
    """

    n: int
    m: int
    layers: Sequence[str] | None  # that are pruned; None: all whose inputs divide by `m`

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole("compress.m", self.m, 2)
        checks.whole("compress.n", self.n, 1, self.m - 1)
        if self.layers is not None:
            checks.several("compress.layers", self.layers, "[model.0]")

    def check(self, student: nn.Module, teachers: Sequence[nn.Module], data: Examples) -> None:
        """Raise `BadSetting` for a layer that there is not, or whose inputs do not divide by `m`."""
        super().check(student, teachers, data)
        self.chosen(student)

    def masks(self, network: nn.Module, task: Task) -> Mapping[str, Tensor]:
        """Return masks; layers that are not pruned keep all."""
        chosen = self.chosen(network)
        return {
            name: masks.n_of_m(weight.abs(), self.n, self.m) if name in chosen else torch.ones_like(weight)
            for name, weight in weights(network).items()
        }

    def chosen(self, network: nn.Module) -> Sequence[str]:
        """Return the names of the weights that are pruned. Raises `BadSetting`."""
        inputs = {name: weight.shape[1] for name, weight in weights(network).items()}
        divided = [name for name, count in inputs.items() if count % self.m == 0]
        if not divided:
            counts = ", ".join(map(str, inputs.values()))
            raise BadSetting(f"compress.m={self.m} divides the inputs of no layer: they have {counts}")
        if self.layers is None:
            return divided
        model = features.model_of(network)
        by_layer = {
            name: f"{path}.weight" for path, name in paths(network, model).items() if f"{path}.weight" in inputs
        }
        choices = ", ".join(name for name, weight in by_layer.items() if weight in divided)
        for layer in map(str, self.layers):  # names may be numbers, which YAML reads as such
            if layer not in by_layer:
                raise BadSetting(f"compress.layers: there is no layer {layer} with weights: choose from {choices}")
            if by_layer[layer] not in divided:
                raise BadSetting(
                    f"compress.layers: {layer} has {inputs[by_layer[layer]]} inputs, which {self.m} does not "
                    f"divide: choose from {choices}"
                )
        return [by_layer[str(layer)] for layer in self.layers]


def paths(network: nn.Module, model: nn.Module) -> dict[str, str]:
    """Return what each layer of the model is called in it, by what it is called in the network around it."""
    names = {module: name for name, module in model.named_modules()}
    return {path: names[module] for path, module in network.named_modules() if module in names}
