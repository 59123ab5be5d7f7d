"""Files of weights: what they hold, whoever wrote them, and those of runs. Nothing in a file is run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from kdbench.errors import BadSetting
from kdbench.models.trained_on import CLASSES
from kdbench.settings.earlier_run import FILE_STEPS, SHAPED_BY

INSIDE = ("state_dict", "model_state_dict", "model")  # under which training scripts keep it in their checkpoints
WRAPPED = ("module.", "_orig_mod.")  # what DataParallel and torch.compile put in front of every name
HOW = "torch.save(model.state_dict(), FILE) writes one"


def read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name: safetensors, or a state_dict that torch reads with `weights_only`.

    Raises `BadSetting` if it is no such file.
    """
    if not path.is_file():
        raise BadSetting(f"weights={path}: there is no such file")
    tensors = state_dict_in(loaded(path))
    if not tensors or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise BadSetting(f"weights={path} holds no state_dict, tensors by name: {HOW}")
    for prefix in WRAPPED:
        if all(str(name).startswith(prefix) for name in tensors):
            tensors = {str(name).removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return {str(name): tensor for name, tensor in tensors.items()}


def loaded(path: Path) -> object:
    """Return what a file holds. Raises `BadSetting` if nothing can be read, or only by running what stands in it."""
    try:
        return load_file(path)
    except (SafetensorError, ValueError):
        pass
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for what it did not write
        raise BadSetting(
            f"weights={path} is neither safetensors nor a state_dict (a whole pickled network is code, and is not "
            f"run): {HOW}"
        ) from error


def state_dict_in(content: Any) -> dict[Any, Any]:
    """Return the state_dict in what a file holds, which may be a checkpoint with more in it; {} if there is none."""
    if not isinstance(content, dict):
        return {}
    return next((content[name] for name in INSIDE if isinstance(content.get(name), dict)), content)


def written(
    network: nn.Module,
    file_steps: Sequence[str] = (),
    class_names: Sequence[str] = (),
    shaped_by: Sequence[Mapping[str, Any]] = (),
) -> bytes:
    """Return the content of a safetensors file of all tensors of `network`, its normalisation included.

    In its metadata stand: `file_steps`, which change the file after that, and so not these tensors; `class_names`,
    whose logits it gives; and what its layers were `shaped_by` (see `settings.earlier_run.shaped_by`).
    """
    tensors: Mapping[str, Tensor] = network.state_dict()
    metadata = {FILE_STEPS: ",".join(file_steps)} if file_steps else {}
    if class_names:
        metadata[CLASSES] = json.dumps(list(class_names))
    if shaped_by:
        metadata[SHAPED_BY] = json.dumps(list(shaped_by))
    # Copies: safetensors refuses tensors that share memory, as the weights of tied layers do.
    return save(
        {name: tensor.to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}, metadata or None
    )
