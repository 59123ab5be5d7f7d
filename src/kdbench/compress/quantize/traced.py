"""A network as the graph of its operations, with batch norm folded, and weights and perhaps activations on grids."""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from kdbench.compress.quantize.fake_quantize import Activations, Convolution, Linear, Weights
from kdbench.compress.quantize.folding import fold_batch_norm
from kdbench.errors import BadSetting

LAYERS = (nn.Conv2d, nn.Linear)  # those of other types, or of a class of one's own, stay as they are
POOLS = (nn.AvgPool2d, nn.AdaptiveAvgPool2d)
SUMS = (operator.add, operator.iadd, torch.add, torch.cat, F.avg_pool2d, F.adaptive_avg_pool2d)
# Through these a grid goes as it is: they move numbers, or take the greatest, or put in zeros.
STILL = (nn.MaxPool2d, nn.Flatten, nn.Identity, nn.Dropout)
STILL_FUNCTIONS = (F.max_pool2d, torch.flatten, F.pad, "flatten", "view", "reshape")


def quantized(model: nn.Module, bits: Sequence[int], learned: bool, activations: bool, name: str) -> fx.GraphModule:
    """Return a copy of a model (in eval mode) that computes on grids, those of `activations` not settled yet.

    Where activations stay float, weights are multiplied out before they are used, by scales in float16. Raises
    `BadSetting` for a model whose `forward` cannot be followed, since it depends on the numbers, and for one without
    a layer whose weights can be put on a grid.
    """
    own = copy.deepcopy(model).cpu().eval()
    try:
        traced = fx.symbolic_trace(own)
    except Exception as error:  # torch raises many kinds, for whatever stands in a forward
        raise BadSetting(
            f"compress={name} cannot follow what {type(model).__name__}.forward does: {error}"
        ) from error
    traced.graph.eliminate_dead_code()
    keep_unused(traced, own)
    fold_batch_norm(traced)
    layers = layers_to_round(traced)
    if not layers:
        raise BadSetting(
            f"compress={name} rounds weights of nn.Conv2d and nn.Linear, and {type(model).__name__} calls none of "
            "these: type compress=quantize_weights, which takes every layer of the file"
        )
    weights_on_grids(traced, layers, bits, learned, torch.bfloat16 if activations else torch.float16)
    if activations:
        activations_on_grids(traced, learned)
    traced.recompile()
    return traced


def keep_unused(traced: fx.GraphModule, model: nn.Module) -> None:
    """Give back the modules with parameters that are not called, as a second head: zeros in them are kept by name."""
    found = dict(traced.named_modules())
    for name, module in model.named_modules():
        if name not in found and any(True for _ in module.parameters(recurse=False)):
            traced.add_submodule(name, module)


def layers_to_round(traced: fx.GraphModule) -> dict[str, nn.Module]:
    """Return the layers that the graph itself calls, by name: not those of a module that is one operation of it."""
    modules = dict(traced.named_modules())
    called = dict.fromkeys(str(node.target) for node in traced.graph.nodes if node.op == "call_module")
    return {name: modules[name] for name in called if type(modules[name]) in LAYERS}


def weights_on_grids(
    traced: fx.GraphModule, layers: dict[str, nn.Module], bits: Sequence[int], learned: bool, scales: torch.dtype
) -> None:
    """Put the weights of layers on grids: those of the first, those between, and those of the last.

    A parameter has one grid wherever it is used, also by a function: by the bits of its first layer.
    """
    first, between, last = bits
    names = list(layers)
    of_layers = dict.fromkeys(names, between) | dict.fromkeys(names[:1], first) | dict.fromkeys(names[-1:], last)
    grids: dict[str, Weights] = {}
    owners: dict[Tensor, str] = {}  # the first layer of each parameter
    for name, module in layers.items():
        owner = owners.setdefault(module.weight, name)
        if owner == name:
            grids[name] = Weights(module.weight, of_layers[name], learned, scales)
        made = copy.copy(module)
        made.__class__ = Convolution if isinstance(module, nn.Conv2d) else Linear
        made._modules = dict(module._modules)
        made.add_module("on_grid", grids[owner])
        traced.add_submodule(name, made)
    parameters = dict(traced.named_parameters(remove_duplicate=False))
    for node in list(traced.graph.find_nodes(op="get_attr")):
        owner = owners.get(parameters.get(node.target))
        if owner is not None:
            put_on_grid(traced, node, f"{owner}.on_grid")


def activations_on_grids(traced: fx.GraphModule, learned: bool) -> None:
    """Put on a grid whatever a layer, a sum or a mean is given, if it depends on the images."""
    modules = dict(traced.named_modules())
    of_images = depend_on_images(traced.graph)
    done: dict[fx.Node, fx.Node] = {}
    for node in list(traced.graph.nodes):
        if not computes(node, modules):
            continue
        for given in sources(node, modules):
            if given in done or given not in of_images:  # what does not is stored as it is
                continue
            name = f"grid_{len(done)}"
            # The file takes pixels as the bytes that they are: a grid that is no choice.
            traced.add_module(name, Activations(learned and given.op != "placeholder"))
            on_grid = put_on_grid(traced, given, name)
            done[given] = done[on_grid] = on_grid


def put_on_grid(traced: fx.GraphModule, given: fx.Node, grid: str) -> fx.Node:
    """Give whatever takes a result what the module `grid` makes of it. Return the node that does."""
    with traced.graph.inserting_after(given):
        on_grid = traced.graph.call_module(grid, (given,))
    given.replace_all_uses_with(on_grid, delete_user_cb=lambda user: user is not on_grid)
    return on_grid


def depend_on_images(graph: fx.Graph) -> set[fx.Node]:
    """Return the nodes whose result the images decide, and not parameters alone."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "placeholder" or found.intersection(node.all_input_nodes):
            found.add(node)
    return found


def computes(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether a node multiplies or adds what it is given."""
    if node.op == "call_module":
        return isinstance(modules[str(node.target)], (Convolution, Linear, *POOLS))
    return node.op == "call_function" and node.target in SUMS


def sources(node: fx.Node, modules: dict[str, nn.Module]) -> Iterator[fx.Node]:
    """Yield where what a node is given was computed, before it was moved."""
    for given in node.all_input_nodes:
        while moves(given, modules):
            given = given.all_input_nodes[0]
        yield given


def moves(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether a node gives numbers that it was given, or zeros."""
    if node.op == "call_module":
        return isinstance(modules.get(str(node.target)), STILL)
    return node.op in ("call_function", "call_method") and node.target in STILL_FUNCTIONS
