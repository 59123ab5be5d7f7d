"""torch's exporter, half a second for a network of two layers: what is the same each time is done once."""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import importlib
import os
import pickle
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from onnxscript import ir


def quickened(patch: Any) -> None:
    """Let torch list once, and not for each file, what it can translate. `patch`: pytest's monkeypatch."""
    with contextlib.suppress(ImportError, AttributeError):  # this is not public: without it, tests take longer
        registry = importlib.import_module("torch.onnx._internal.exporter._registration").ONNXRegistry
        patch.setattr(registry, "from_torchlib", staticmethod(functools.cache(registry.from_torchlib)))
        # Looks for operators that were registered since the last export, 29 times in each.
        operators = importlib.import_module("torch._export.utils")
        patch.setattr(operators, "_materialize_cpp_cia_ops", functools.cache(operators._materialize_cpp_cia_ops))


def traced_once(export: Any, folder: Path) -> Any:
    """Trace networks of one structure once, for all processes, and put the weights of each into its graph.

    What is traced is the graph before it is optimised, whose weights are those of the network under their own names.
    """

    @functools.wraps(export)
    def made(network: torch.nn.Module, example: Any, **knobs: Any) -> Any:
        named = [*network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False)]
        first = {id(tensor): name for name, tensor in reversed(named)}  # name, where modules share one
        given = [(tensor.shape, tensor.dtype) for tensor in example], sorted(map(repr, knobs.items()))
        try:
            shared = [first[id(tensor)] for _, tensor in named]
            structure = pickle.dumps((copy.deepcopy(network).to("meta"), shared, given))
        except Exception:  # a network with a function in it, or a class of the test itself
            return export(network, example, **knobs)
        file = folder / f"{hashlib.sha256(structure).hexdigest()}.onnx"
        if not file.exists():
            traced = export(network, example, **knobs, optimize=False)
            part = file.with_suffix(f".{os.getpid()}")
            part.write_bytes(traced.model_proto.SerializeToString())
            part.replace(file)
        graph = onnx.load(file)
        weights = {name: numpy_helper.from_array(tensor.detach().numpy(), name) for name, tensor in named}
        for tensor in graph.graph.initializer:
            tensor.CopyFrom(weights.get(tensor.name, tensor))
        program = torch.onnx.ONNXProgram(ir.from_proto(graph), None)
        program.optimize()
        return program

    return made
