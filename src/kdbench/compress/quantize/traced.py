"""A network as the graph of its operations, with batch norm folded, and weights and perhaps activations on grids."""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from kdbench.compress.quantize.fake_quantize import Activations, Convolution, Linear, Weights
from kdbench.errors import BadSetting

NORMS = nn.modules.batchnorm._BatchNorm
POOLS = (nn.AvgPool2d, nn.AdaptiveAvgPool2d)
ELEMENTWISE = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Dropout, nn.Identity)
SUMS = (operator.add, operator.iadd, torch.add, torch.cat, F.avg_pool2d, F.adaptive_avg_pool2d)
# Through these a grid goes as it is: they move numbers, or take the greatest, or put in zeros.
STILL = (nn.MaxPool2d, nn.Flatten, nn.Identity, nn.Dropout)
STILL_FUNCTIONS = (F.max_pool2d, torch.flatten, F.pad, "flatten", "view", "reshape")


def quantized(model: nn.Module, bits: Sequence[int], learned: bool, activations: bool, name: str) -> fx.GraphModule:
    """Return a copy of a model (in eval mode) that computes on grids, those of `activations` not settled yet.

    Where activations stay float, weights are multiplied out before they are used, by scales in float16. Raises
    `BadSetting` for a model whose `forward` cannot be followed, since it depends on the numbers.
    """
    try:
        traced = fx.symbolic_trace(copy.deepcopy(model).cpu().eval())
    except Exception as error:  # torch raises many kinds, for whatever stands in a forward
        raise BadSetting(
            f"compress={name} cannot follow what {type(model).__name__}.forward does: {error}"
        ) from error
    fold_batch_norm(traced)
    weights_on_grids(traced, bits, learned, torch.bfloat16 if activations else torch.float16)
    if activations:
        activations_on_grids(traced, learned)
    traced.graph.eliminate_dead_code()
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


def fold_batch_norm(traced: fx.GraphModule) -> None:
    """Multiply batch norm into the layer before it, as the file that ships has it; its node goes."""
    modules = dict(traced.named_modules())
    for node in list(traced.graph.nodes):
        if node.op != "call_module" or not isinstance(modules[node.target], NORMS):
            continue
        before = node.args[0]
        layer = modules.get(str(before.target)) if before.op == "call_module" else None
        if len(before.users) > 1 or not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        used_once = all(calls(traced, one) == 1 for one in (before, node))
        if not used_once or (isinstance(layer, nn.Linear) and not is_flat(before, modules)):
            continue  # it would be multiplied in twice, or along another axis: it stays
        fuse = fuse_conv_bn_eval if isinstance(layer, nn.Conv2d) else fuse_linear_bn_eval
        folded = fuse(layer, modules[node.target]).requires_grad_(True)  # torch freezes a bias that was none before
        replace_module(traced, before.target, folded)
        modules = dict(traced.named_modules())
        node.replace_all_uses_with(before)
        traced.graph.erase_node(node)


def calls(traced: fx.GraphModule, node: fx.Node) -> int:
    """Return how often the module of a node is called."""
    return sum(other.op == "call_module" and other.target == node.target for other in traced.graph.nodes)


def is_flat(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether what a layer is given was made (images, features) by flattening, and has been so since."""
    while node.op == "call_module" and isinstance(modules[str(node.target)], (nn.Linear, NORMS, *ELEMENTWISE)):
        node = node.all_input_nodes[0]
    if node.op == "call_module":
        module = modules[str(node.target)]
        return isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) == (1, -1)
    return node.target in (torch.flatten, "flatten") and tuple(node.args[1:]) in ((1,), (1, -1))


def weights_on_grids(traced: fx.GraphModule, bits: Sequence[int], learned: bool, scales: torch.dtype) -> None:
    """Put the weights of all convolutions and linear layers on grids: of the first, those between, and the last."""
    modules = dict(traced.named_modules())
    ran = [str(node.target) for node in traced.graph.nodes if node.op == "call_module"]
    layers = [name for name in dict.fromkeys(ran) if type(modules[name]) in (nn.Conv2d, nn.Linear)]
    first, between, last = bits
    of_layers = dict.fromkeys(layers, between) | dict.fromkeys(layers[:1], first) | dict.fromkeys(layers[-1:], last)
    for name, module in modules.items():
        if type(module) in (nn.Conv2d, nn.Linear):
            made = copy.copy(module)
            made.__class__ = Convolution if isinstance(module, nn.Conv2d) else Linear
            made._modules = dict(module._modules)
            made.add_module("on_grid", Weights(module.weight, of_layers.get(name, between), learned, scales))
            replace_module(traced, name, made)


def activations_on_grids(traced: fx.GraphModule, learned: bool) -> None:
    """Put on a grid whatever a layer, a sum or a mean is given."""
    modules = dict(traced.named_modules())
    done: dict[fx.Node, fx.Node] = {}
    for node in list(traced.graph.nodes):
        if not computes(node, modules):
            continue
        for given in sources(node, modules):
            if given in done:
                continue
            name = f"grid_{len(done)}"
            # The file takes pixels as the bytes that they are: a grid that is no choice.
            traced.add_module(name, Activations(learned and given.op != "placeholder"))
            with traced.graph.inserting_after(given):
                on_grid = traced.graph.call_module(name, (given,))
            given.replace_all_uses_with(on_grid, delete_user_cb=lambda user, own=on_grid: user is not own)
            done[given] = done[on_grid] = on_grid


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


def replace_module(traced: fx.GraphModule, name: object, module: nn.Module) -> None:
    """Put `module` in the place of the submodule `name`."""
    parent, _, own = str(name).rpartition(".")
    setattr(traced.get_submodule(parent), own, module)
