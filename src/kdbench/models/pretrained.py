"""Weights that were trained elsewhere, read from a file of tensors; nothing in it is run."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from kdbench.errors import BadSetting
from kdbench.models.network import Network
from kdbench.models.onnx_file import OnnxFile

SHOWN = 4  # how many names that do not fit are listed


def load_weights(network: Network, path: Path, model_name: str = "the model") -> None:
    """Put the tensors of `path` into `network`: safetensors, or a state_dict that torch reads with `weights_only`.

    Their names are those of the model, or of the whole network with its normalisation. Raises `BadSetting`, in one
    line that lists the first few under `model_name`, if names or shapes do not fit.
    """
    if isinstance(network.model, OnnxFile):
        network.model.load_file(path)
        return
    tensors = read(path)
    whole = network.state_dict()
    own = {f"1.{name}": name for name in network.model.state_dict()}
    if not set(tensors) & set(whole) or set(own.values()) >= set(tensors):
        given = {f"1.{name}": tensor for name, tensor in tensors.items()}
        called = dict(own)
        expected = {name: tensor for name, tensor in whole.items() if name in own}
    else:
        given, called, expected = tensors, {}, whole
    missing = [f"{called.get(name, name)} is missing" for name in expected if name not in given]
    unknown = [f"{name.removeprefix('1.') if called else name} is unknown" for name in given if name not in expected]
    # In turns, so that what the model wants and what the file has both stand among the first.
    problems = [problem for pair in zip_longest(missing, unknown) for problem in pair if problem]
    problems += [
        f"{called.get(name, name)} is {size(given[name])} there and {size(tensor)} in the model"
        for name, tensor in expected.items()
        if name in given and given[name].shape != tensor.shape
    ]
    if problems:
        more = f", and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise BadSetting(f"weights={path} do not fit {model_name}: {', '.join(problems[:SHOWN])}{more}")
    network.load_state_dict(whole | given)


def size(tensor: Tensor) -> str:
    """Return the shape of a tensor as a person writes it: `3x32x32`."""
    return "x".join(map(str, tensor.shape)) or "a number"


def read(path: Path) -> Mapping[str, Tensor]:
    """Return the tensors of a file by name. Raises `BadSetting` if it is no such file."""
    if not path.is_file():
        raise BadSetting(f"weights={path}: there is no such file")
    try:
        return load_file(path)
    except (SafetensorError, ValueError):
        pass
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for what it did not write
        raise BadSetting(
            f"weights={path} is neither safetensors nor a state_dict: torch.save(model.state_dict(), FILE) writes one"
        ) from error
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise BadSetting(f"weights={path} holds no state_dict, tensors by name: torch.save(model.state_dict(), FILE)")
    return loaded
