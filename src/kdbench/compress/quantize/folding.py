"""Batch norm multiplied into the layer before it, in a network that is the graph of its operations."""

from __future__ import annotations

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from kdbench.compress.layers import tied

NORMS = nn.modules.batchnorm._BatchNorm
ELEMENTWISE = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Dropout, nn.Identity)


def fold_batch_norm(traced: fx.GraphModule) -> None:
    """Multiply batch norm into the layer before it, as the file that ships has it; node and module of it go.

    It stays where that would change what is computed, and where it has no statistics but those of a batch.
    """
    modules, shared = dict(traced.named_modules()), tied(traced)
    for node in list(traced.graph.nodes):
        norm = modules.get(str(node.target)) if node.op == "call_module" else None
        if not isinstance(norm, NORMS) or norm.running_mean is None:
            continue
        before = node.args[0]
        layer = modules.get(str(before.target)) if before.op == "call_module" else None
        if len(before.users) > 1 or type(layer) not in (nn.Conv2d, nn.Linear):  # others may compute their weights
            continue
        used_once = all(calls(traced, one) == 1 for one in (before, node)) and shared.isdisjoint((layer, norm))
        if not used_once or (type(layer) is nn.Linear and not is_flat(before, modules)):
            continue  # it would be multiplied in twice, or along another axis
        fuse = fuse_conv_bn_eval if type(layer) is nn.Conv2d else fuse_linear_bn_eval
        folded = fuse(layer, norm).requires_grad_(True)  # torch freezes a bias that was none before
        traced.add_submodule(str(before.target), folded)
        modules[str(before.target)] = folded
        node.replace_all_uses_with(before)
        traced.graph.erase_node(node)
        traced.delete_submodule(str(node.target))


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
